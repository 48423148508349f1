/* Keeps up to 32 operations of librbd under way: load CONFIG IMAGE plain|luks2. For each line `LENGTH WRITE RANDOM DEPTH MILLISECONDS
 * SIZE` on its input it prints MiB/s. */
#include <rados/librados.h>
#include <rbd/librbd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST 32
#define CHECK(call) do { int r = (call); if (r < 0) { fprintf(stderr, "%s: %d\n", #call, r); exit(1); } } while (0)

static rbd_image_t image;
static uint64_t length, size, milliseconds;
static int is_write, is_random, depth;
static atomic_uint_fast64_t next, done;
static double begun;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static int under_way;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

struct operation {
    char *buffer;
};

static void start(struct operation *operation);

/* Starts the next operation from the callback of the last, so that all are under way all the time. */
static void over(rbd_completion_t completion, void *argument)
{
    CHECK(rbd_aio_get_return_value(completion));
    rbd_aio_release(completion);
    atomic_fetch_add(&done, length);
    if ((now() - begun) * 1e3 < milliseconds) {
        start(argument);
        return;
    }
    pthread_mutex_lock(&mutex);
    under_way--;
    pthread_cond_signal(&ended);
    pthread_mutex_unlock(&mutex);
}

static void start(struct operation *operation)
{
    uint64_t n = atomic_fetch_add(&next, 1);
    if (is_random)
        n = n * 0x9E3779B97F4A7C15u >> 20;
    uint64_t offset = n % (size / length) * length;
    rbd_completion_t completion;
    CHECK(rbd_aio_create_completion(operation, over, &completion));
    if (is_write)
        CHECK(rbd_aio_write(image, offset, length, operation->buffer, completion));
    else
        CHECK(rbd_aio_read(image, offset, length, operation->buffer, completion));
}

int main(int argc, char **argv)
{
    rados_t cluster;
    rados_ioctx_t pool;
    if (argc != 4)
        return 2;
    CHECK(rados_create(&cluster, "disks"));
    CHECK(rados_conf_read_file(cluster, argv[1]));
    CHECK(rados_conf_set(cluster, "rbd_cache", "false"));
    CHECK(rados_connect(cluster));
    CHECK(rados_ioctx_create(cluster, "rbd", &pool));
    CHECK(rbd_open(pool, argv[2], &image, NULL));
    CHECK(rbd_lock_acquire(image, RBD_LOCK_MODE_EXCLUSIVE));
    if (strcmp(argv[3], "luks2") == 0) {
        rbd_encryption_luks2_format_options_t options = {RBD_ENCRYPTION_ALGORITHM_AES256, "secret", 6};
        CHECK(rbd_encryption_load(image, RBD_ENCRYPTION_FORMAT_LUKS2, &options, sizeof options));
    }
    struct operation operations[MOST];
    for (int i = 0; i < MOST; i++) {
        operations[i].buffer = malloc(1 << 20);
        memset(operations[i].buffer, 0x5a, 1 << 20);
    }
    while (scanf("%lu %d %d %d %lu %lu", &length, &is_write, &is_random, &depth, &milliseconds, &size) == 6) {
        if (depth < 1 || depth > MOST || length > 1 << 20)
            return 2;
        next = 0, done = 0, under_way = depth, begun = now();
        for (int i = 0; i < depth; i++)
            start(&operations[i]);
        pthread_mutex_lock(&mutex);
        while (under_way > 0)
            pthread_cond_wait(&ended, &mutex);
        pthread_mutex_unlock(&mutex);
        printf("%f\n", done / (now() - begun) / (1 << 20));
        fflush(stdout);
    }
    return 0;
}
