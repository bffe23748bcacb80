#pragma once
/* save.c, resume.c: a running machine, saved and woken. */
#include "sup.h"

/*
 * Begins to save the machine into this folder, which is there and empty, and which is removed where
 * it fails; NULL: to suspend it, which ends it. sup_control_saved follows, or the end.
 */
int sup_save(struct sup *s, const char *folder, struct err *e);
void sup_saving_frozen(struct sup *s);          /* the fs role says so */
void sup_saving_ended(struct sup *s, int code); /* the role save */
void sup_saving_drop(struct sup *s);            /* the machine has ended meanwhile */

/*
 * Whether the machine is to go on from where it was suspended: 1, 0, -errno. What is of no use any
 * more is removed, with a word.
 */
int sup_resume_find(struct sup *s, struct err *e);
/* The journal of the fs role, and what it had said. */
int sup_resume_fs(const struct sup *s, int journal, int stream, struct err *e);
/* QEMU has loaded it: it runs from here on. */
int sup_resume_go(struct sup *s, struct err *e);
/* It runs, and what it was saved in is of no use any more. */
void sup_resume_done(struct sup *s);
