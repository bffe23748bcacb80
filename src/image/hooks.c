#include "customize.h"
#include "hooks.h"
#include "pack.h"

const char *
hook_customize(void)
{
	return text_customize;
}

const char *
hook_pack(void)
{
	return text_pack;
}
