/* zookeeper_version.h: the release of Apache ZooKeeper whose C interface this is, in both forms
 * that programs ask for. */
#ifndef ZOO_VERSION_H
#define ZOO_VERSION_H

#define ZOO_VERSION "3.9.5"
#define ZOO_MAJOR_VERSION 3
#define ZOO_MINOR_VERSION 9
#define ZOO_PATCH_VERSION 5

#endif
