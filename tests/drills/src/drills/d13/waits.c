/* librdkafka waits by C11's cnd_timedwait, until a time of the wall clock. libfaketime shifts what the clock says but does
   not know this wait, only POSIX's, which in glibc is the same thing: there it takes the shift out again. */
#include <errno.h>
#include <pthread.h>
#include <threads.h>

_Static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "cnd_t is a pthread_cond_t");
_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "mtx_t is a pthread_mutex_t");

int cnd_timedwait(cnd_t *cnd, mtx_t *mtx, const struct timespec *until) {
  int error = pthread_cond_timedwait((pthread_cond_t *)cnd, (pthread_mutex_t *)mtx, until);
  return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : thrd_error;
}
