#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Whether two measured rates are those of one clock. */
bool snapshot_same_rate(uint64_t a, uint64_t b);
