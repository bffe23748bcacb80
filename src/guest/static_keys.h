#pragma once

/*
 * Before the other processors start and after /sys is mounted: what the kernel would patch itself
 * for later on, it does now. Leaves descriptors open, for ever. What a kernel lacks is warned of.
 */
void static_keys_switch_on(void);
