#pragma once
#include "cli.h"

extern const struct verb verb_run, verb_create, verb_exec, verb_attach, verb_ls, verb_diff,
	verb_inspect, verb_logs, verb_kit, verb_kit_check, verb_kit_inspect, verb_kit_ls, verb_stop,
	verb_suspend, verb_checkpoint, verb_rollback, verb_fork, verb_rm, verb_network,
	verb_network_proxy, verb_network_allow, verb_network_deny, verb_network_rm, verb_network_ls,
	verb_network_log, verb_network_learn, verb_network_check, verb_network_default, verb_ports,
	verb_secret, verb_template;
