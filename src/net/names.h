#pragma once
/*
 * The names table: which address of the fake range stands for which name. Pure: time comes in.
 */
#include <stddef.h>
#include <stdint.h>

#define NAMES_TTL_S 60
/* Programs keep addresses for longer than they are told to; the table does so as well. */
#define NAMES_HOLD_MS  (10 * 60 * 1000ULL)
#define NAMES_CAPACITY 65536

struct names;
struct name;

/* Addresses first..last (host order), at most capacity names at a time. */
struct names *names_new(uint32_t first, uint32_t last, size_t capacity, uint64_t hold_ms);
void names_free(struct names *t);

/*
 * The address that stands for this name from now on, for at least hold_ms. 0, or -ENOSPC where
 * every name of the table is in use or was handed out within hold_ms.
 */
int names_assign(struct names *t, const char *name, uint64_t now_ms, uint32_t *ret_addr);
/* The name behind an address, or NULL. Valid until the next names_assign, or while pinned. */
struct name *names_find(const struct names *t, uint32_t addr);
const char *name_text(const struct name *n);

/* While a connection uses it, a name keeps its address. Pins count. */
void names_pin(struct names *t, struct name *n);
void names_unpin(struct names *t, struct name *n, uint64_t now_ms);

size_t names_count(const struct names *t);
