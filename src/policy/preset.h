#pragma once
/* The presets' own rules. */
#include <policy/policy.h>

/* Calls add() for each of them. */
void preset_rules(
	enum policy_preset preset, void (*add)(void *arg, const struct rule *r), void *arg);
