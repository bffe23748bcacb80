#pragma once
/* argv: paddock --role=supervisor NAME; descriptor 3 is the start-up pipe (CONTROL_* frames). */
int sup_main(int argc, char **argv);
int snapshot_main(int argc, char **argv);
/*
 * paddock-role --role=save FOLDER ADDRESS BYTES DISK; without DISK (""), what is written is on the
 * disk when it ends, else the disk is copied as well.
 */
enum { SAVE_FD_MEM = 3, SAVE_FD_PAGEMAP, SAVE_FD_BASE }; /* vmm_ram_save */
int save_main(int argc, char **argv);
