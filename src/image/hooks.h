#pragma once
/* The shell scripts of hooks/, which run inside the image's user namespace, as text. */
const char *hook_customize(void);
const char *hook_pack(void);
