/* A C program with Python in it: argv[1] is run by the main thread, and argv[2] from a thread that C has made; argv[3] times, if
   it is given, each time with a new thread state, and a millisecond apart. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

static int times = 1;

static void *enter(void *code)
{
    struct timespec pause = {0, 1000000};
    for (int i = 0; i < times; i++) {
        PyGILState_STATE state = PyGILState_Ensure();
        PyRun_SimpleString(code);
        PyGILState_Release(state);
        if (times > 1)
            nanosleep(&pause, NULL);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    Py_InitializeEx(1);
    if (PyRun_SimpleString(argv[1]) != 0)
        return 1;
    if (argc > 3)
        times = atoi(argv[3]);
    Py_BEGIN_ALLOW_THREADS
    pthread_create(&thread, NULL, enter, argv[2]);
    pthread_join(thread, NULL);
    Py_END_ALLOW_THREADS
    return Py_FinalizeEx() < 0;
}
