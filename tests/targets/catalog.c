/* A library with locks of its own, in static variables: nothing of Python leads to them. Used by catalog.py. */
#include <pthread.h>
#include <unistd.h>

static pthread_mutex_t catalog_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t catalog_rwlock = PTHREAD_RWLOCK_INITIALIZER;

void update_mutex(int microseconds)
{
    pthread_mutex_lock(&catalog_mutex);
    usleep(microseconds);
    pthread_mutex_unlock(&catalog_mutex);
}

void update_rwlock(int microseconds)
{
    pthread_rwlock_wrlock(&catalog_rwlock);
    usleep(microseconds);
    pthread_rwlock_unlock(&catalog_rwlock);
}

void look_up_rwlock(int microseconds)
{
    pthread_rwlock_rdlock(&catalog_rwlock);
    usleep(microseconds);
    pthread_rwlock_unlock(&catalog_rwlock);
}
