#pragma once
#include <stdbool.h>

/* Whether the path still leads to the very file or folder that is open here. */
bool is_still_at(int fd, const char *path);
