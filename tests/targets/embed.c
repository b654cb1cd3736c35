/* A C program with Python in it: argv[1] is run by the main thread, and called from a thread that C has made. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>

static void *enter(void *code)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyRun_SimpleString(code);
    PyGILState_Release(state);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    Py_InitializeEx(1);
    if (PyRun_SimpleString(argv[1]) != 0)
        return 1;
    Py_BEGIN_ALLOW_THREADS
    pthread_create(&thread, NULL, enter, argv[2]);
    pthread_join(thread, NULL);
    Py_END_ALLOW_THREADS
    return Py_FinalizeEx() < 0;
}
