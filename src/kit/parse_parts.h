#pragma once
#include <kit/kit.h>

#include "parse_map.h"

/* into: the struct kit. */
int parts_read_files(const struct node *n, void *into, struct err *e);
int parts_read_install(const struct node *n, void *into, struct err *e);
int parts_read_network(const struct node *n, void *into, struct err *e);
int parts_read_credentials(const struct node *n, void *into, struct err *e);
int parts_read_settings(const struct node *n, void *into, struct err *e);
void parts_file_release(struct kit_file *f);
void parts_credential_release(struct kit_credential *c);
void parts_setting_release(struct kit_setting *s);
