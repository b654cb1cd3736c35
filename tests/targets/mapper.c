/* Maps the first page of a file as code as often as it is told to, prints READY, and waits. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int count, char **words)
{
	int file = open(words[1], O_RDONLY);
	long times = count > 2 ? atol(words[2]) : 1;

	while (times-- > 0) {
		if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0) == MAP_FAILED)
			return 1;
	}
	puts("READY");
	fflush(stdout);
	pause();
	return 0;
}
