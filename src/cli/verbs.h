#pragma once
#include "cli.h"

extern const struct verb verb_run, verb_create, verb_exec, verb_attach, verb_ls, verb_inspect,
	verb_logs, verb_stop, verb_rm, verb_network, verb_ports, verb_template;
