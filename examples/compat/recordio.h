/*
 * recordio.h: how records of zookeeper.jute.h become bytes and come back.
 *
 * An archive is a table of functions, called for each member of a record in turn; the two made here
 * write into memory and read from it, in the form that ZooKeeper has on the wire. All functions
 * return 0 or a negative errno.
 */
#ifndef ZOO_RECORDIO_H
#define ZOO_RECORDIO_H

#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* len -1 with buff NULL is null, which is not the same as empty. */
struct buffer {
    int32_t len;
    char *buff;
};

void deallocate_String(char **s);
void deallocate_Buffer(struct buffer *b);
void deallocate_vector(void *d);

struct iarchive {
    int (*start_record)(struct iarchive *ia, const char *tag);
    int (*end_record)(struct iarchive *ia, const char *tag);
    int (*start_vector)(struct iarchive *ia, const char *tag, int32_t *count);
    int (*end_vector)(struct iarchive *ia, const char *tag);
    int (*deserialize_Bool)(struct iarchive *ia, const char *name, int32_t *v);
    int (*deserialize_Int)(struct iarchive *ia, const char *name, int32_t *v);
    int (*deserialize_Long)(struct iarchive *ia, const char *name, int64_t *v);
    int (*deserialize_Buffer)(struct iarchive *ia, const char *name, struct buffer *v);
    int (*deserialize_String)(struct iarchive *ia, const char *name, char **v);
    void *priv;
};

struct oarchive {
    int (*start_record)(struct oarchive *oa, const char *tag);
    int (*end_record)(struct oarchive *oa, const char *tag);
    int (*start_vector)(struct oarchive *oa, const char *tag, const int32_t *count);
    int (*end_vector)(struct oarchive *oa, const char *tag);
    int (*serialize_Bool)(struct oarchive *oa, const char *name, const int32_t *v);
    int (*serialize_Int)(struct oarchive *oa, const char *name, const int32_t *v);
    int (*serialize_Long)(struct oarchive *oa, const char *name, const int64_t *v);
    int (*serialize_Buffer)(struct oarchive *oa, const char *name, const struct buffer *v);
    int (*serialize_String)(struct oarchive *oa, const char *name, char **v);
    void *priv;
};

/* NULL: out of memory. */
struct oarchive *create_buffer_oarchive(void);
/* free_buffer 0: what get_buffer returned lives on and is to be freed by the caller. */
void close_buffer_oarchive(struct oarchive **oa, int free_buffer);
/* The bytes are borrowed until the archive is closed. */
struct iarchive *create_buffer_iarchive(char *buffer, int len);
void close_buffer_iarchive(struct iarchive **ia);
char *get_buffer(struct oarchive *oa);
int get_buffer_len(struct oarchive *oa);

/* To the byte order of the wire. */
int64_t zoo_htonll(int64_t v);

#ifdef __cplusplus
}
#endif

#endif
