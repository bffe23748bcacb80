/* The init of the bare boot that bench/start measures against: says that it runs, powers off. */
#include <fcntl.h>
#include <sys/reboot.h>
#include <unistd.h>

int
main(void)
{
	static const char line[] = "bare init runs\n";
	int fd = open("/dev/console", O_WRONLY);

	if (fd >= 0 && write(fd, line, sizeof(line) - 1) < 0)
		return 1;
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}
