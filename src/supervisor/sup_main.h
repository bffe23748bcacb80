#pragma once
/* argv: paddock --role=supervisor NAME; descriptor 3 is the start-up pipe (CONTROL_* frames). */
int sup_main(int argc, char **argv);
int snapshot_main(int argc, char **argv);
/* paddock --role=save NAME FOLDER only|copy-disk; descriptor 3 is the machine that comes. */
int save_main(int argc, char **argv);
