#pragma once
/* The store's key, in the user's Secret Service (secret-tool(1) of libsecret). */
#include <stdint.h>

#include <base/err.h>

#define KEYRING_KEY_BYTES 32

/* 0; -ENOENT: no Secret Service here, or no key in it; -errno. */
int keyring_get(uint8_t key[KEYRING_KEY_BYTES], struct err *e);
/* Makes and keeps one. -ENOENT: no Secret Service here. */
int keyring_make(uint8_t key[KEYRING_KEY_BYTES], struct err *e);
