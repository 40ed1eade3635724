#include "processors.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { VCPUS = 16 }; /* that are looked at; more wait as these do */

static uint32_t limit; /* atomic */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int vcpus[VCPUS]; /* thread ids, 0 where there is none; under the lock */

void pk_processors_limit(uint32_t count) { __atomic_store_n(&limit, count, __ATOMIC_RELAXED); }

void pk_processors_vcpu(int tid, bool runs)
{
    pthread_mutex_lock(&lock);
    for (int n = 0; n < VCPUS; n++)
        if (vcpus[n] == (runs ? 0 : tid)) {
            vcpus[n] = runs ? tid : 0;
            break;
        }
    pthread_mutex_unlock(&lock);
}

bool pk_processors_due(const struct pk_processors *processors, uint64_t now)
{
    return !processors->checked || now - processors->checked >= PK_PROCESSORS_CHECK;
}

bool pk_processors_free(const struct pk_processors *processors, uint64_t now)
{
    return now >= __atomic_load_n(&processors->until, __ATOMIC_RELAXED);
}

bool pk_processors_proven(const struct pk_processors *processors, uint64_t now)
{
    return pk_processors_free(processors, now) &&
           __atomic_load_n(&processors->proven, __ATOMIC_RELAXED);
}

static void ban(struct pk_processors *processors, uint64_t now)
{
    uint64_t until = __atomic_load_n(&processors->until, __ATOMIC_RELAXED);
    bool again = processors->ban && now - until < processors->ban;
    processors->ban = !again ? PK_PROCESSORS_BAN : processors->ban * 2;
    if (processors->ban > PK_PROCESSORS_BAN_MOST)
        processors->ban = PK_PROCESSORS_BAN_MOST;
    __atomic_store_n(&processors->until, now + processors->ban, __ATOMIC_RELAXED);
    __atomic_store_n(&processors->proven, 0, __ATOMIC_RELAXED);
}

void pk_processors_judge(struct pk_processors *processors, uint64_t now, uint32_t allowed,
                         uint64_t waited)
{
    uint64_t passed = now - processors->checked, more = waited - processors->waited;
    /* What was waited in a long time says nothing of the time since the thread has been looking. */
    bool known = processors->checked && passed < 2 * PK_PROCESSORS_CHECK && waited != UINT64_MAX &&
                 waited >= processors->waited;
    processors->checked = now;
    processors->waited = waited == UINT64_MAX ? 0 : waited;
    if (!pk_processors_free(processors, now))
        return;
    if (allowed < 2 || (known && more > passed / PK_PROCESSORS_SHARE))
        ban(processors, now);
    else if (known)
        __atomic_store_n(&processors->proven, 1, __ATOMIC_RELAXED);
}

/* ns that a thread has been ready to run without a processor; UINT64_MAX: nobody tells. */
static uint64_t delay_of(int tid)
{
    char path[64], text[96];
    snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return UINT64_MAX;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    unsigned long long waited;
    if (size <= 0)
        return UINT64_MAX;
    text[size] = 0;
    return sscanf(text, "%*u %llu", &waited) == 1 ? waited : UINT64_MAX;
}

static uint64_t waited_by_all(void)
{
    int tids[VCPUS];
    pthread_mutex_lock(&lock);
    for (int n = 0; n < VCPUS; n++)
        tids[n] = vcpus[n];
    pthread_mutex_unlock(&lock);
    uint64_t sum = delay_of((int)syscall(SYS_gettid));
    for (int n = 0; n < VCPUS && sum != UINT64_MAX; n++) {
        uint64_t waited = tids[n] ? delay_of(tids[n]) : 0;
        sum += waited == UINT64_MAX ? 0 : waited; /* it has just ended */
    }
    return sum;
}

static uint32_t allowed_to_all(void)
{
    cpu_set_t set;
    uint32_t most = __atomic_load_n(&limit, __ATOMIC_RELAXED);
    /* With more processors than the set has room for there are two, surely. */
    uint32_t count = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 2;
    return most && most < count ? most : count;
}

void pk_processors_look(struct pk_processors *processors, uint64_t now)
{
    uint32_t allowed = allowed_to_all();
    pk_processors_judge(processors, now, allowed, allowed < 2 ? UINT64_MAX : waited_by_all());
}
