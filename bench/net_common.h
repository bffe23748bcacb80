#pragma once
/* What the benches of the net role measure with. Whatever fails, ends the bench. */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

void die(const char *what) __attribute__((noreturn));

int bench_listen(uint16_t *ret_port); /* on 127.0.0.1, blocking */
int bench_call(uint16_t port);
/* Asks a forward proxy for HOST:PORT, and returns once it has said 200. */
void bench_connect(int fd, const char *target);

double bench_now(void); /* seconds */
/* What the process and the children that it has waited for have used, seconds; 0 for pid 0. */
double bench_cpu(pid_t pid);
long bench_pss_kib(pid_t pid);
double bench_median(double *v, size_t n); /* sorts v */
