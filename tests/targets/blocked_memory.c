/* A process whose interpreter lies in memory that is never there: whoever reads it waits for ever. Prints READY, or
 * UNSUPPORTED where the kernel does not permit that. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LENGTH = 1 << 16 };
__attribute__((aligned(4096))) char _PyRuntime[LENGTH] = {1};

static int never_supplied(void *start)
{
    struct uffdio_api api = {.api = UFFD_API};
    struct uffdio_register area = {
        .range = {.start = (unsigned long)start, .len = LENGTH},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    int supplier = syscall(SYS_userfaultfd, O_CLOEXEC);
    return supplier >= 0 && !ioctl(supplier, UFFDIO_API, &api) && !ioctl(supplier, UFFDIO_REGISTER, &area);
}

int main(void)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    void *start = mmap(_PyRuntime, LENGTH, PROT_READ | PROT_WRITE, flags, -1, 0);
    puts(start != MAP_FAILED && never_supplied(start) ? "READY" : "UNSUPPORTED");
    fflush(stdout);
    pause();
}
