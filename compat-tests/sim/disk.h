/* What disk.c and sim_os.c share. */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "base/base.h"

#define DISK_PAGE 4096
#define DISK_SECTOR 512
#define DISK_PATH 64
#define DISK_JOURNAL 64 /* changes of names that may wait */

struct disk;
struct disk_file {
    bool used, dir;
    bool hole; /* at a power cut: something of it was lost already */
    uint8_t *cache, *disk, *dirty; /* owned; cap bytes, cap bytes, one flag a page */
    int64_t size, disk_size, cap;
};
struct disk_name {
    char path[DISK_PATH];
    uint32_t inode;
};
enum disk_change_kind { DISK_CREATE, DISK_UNLINK, DISK_RENAME };
struct disk_change {
    enum disk_change_kind kind;
    char path[DISK_PATH], to[DISK_PATH];
    uint32_t inode;
};

struct disk_name *disk_names(const struct buf *table, uint32_t *n);
struct disk_name *disk_find(const struct buf *table, const char *path);
void disk_dirname(const char *path, char out[DISK_PATH]);
void disk_change(struct disk *d, enum disk_change_kind kind, const char *path, const char *to,
                 uint32_t inode);
void disk_sync_names(struct disk *d, const char *dir);
uint32_t disk_new_file(struct disk *d, bool dir);
void disk_write(struct disk_file *f, const void *bytes, int64_t n, int64_t off);
void disk_resize(struct disk_file *f, int64_t size);
void disk_sync(struct disk_file *f);

#endif
