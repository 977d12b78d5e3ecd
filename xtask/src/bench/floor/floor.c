/* SPDX-License-Identifier: Apache-2.0
 *
 * The floor: a container made by the bare system calls and nothing else. No configuration is read, nothing is checked,
 * found out or reported; what `cargo xtask bench runtime` writes into its bundle is written here as constants. What a
 * runtime takes beyond this is its own work.
 *
 *   floor run    FILTER ROOTFS              make the container, wait for its end, remove its cgroups
 *   floor create FILTER ROOTFS DIR          make it; it waits on the fifo DIR/fifo; its state is kept in DIR
 *   floor start  DIR                        let it execute
 *   floor delete DIR                        remove its cgroups and DIR
 *
 * FILTER is a file of `struct sock_filter`. Cgroups: every v1 hierarchy below /sys/fs/cgroup, and the unified one.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define CGROUP "corten-test-floor"
#define MAX_HIERARCHIES 16
#define MS_DETACH_FLAG 2

static void must(long returned, const char *what) {
    if (returned < 0) {
        perror(what);
        _exit(125);
    }
}

static char *hierarchies[MAX_HIERARCHIES];
static int count, tasks[MAX_HIERARCHIES], unified = -1;

static void put(const char *path, const char *value) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    must(fd, path);
    must(write(fd, value, strlen(value)), path);
    close(fd);
}

static void control(const char *hierarchy, const char *file, const char *value) {
    char path[256];
    snprintf(path, sizeof path, "/sys/fs/cgroup/%s/" CGROUP "/%s", hierarchy, file);
    put(path, value);
}

static void find_hierarchies(void) {
    DIR *dir = opendir("/sys/fs/cgroup");
    struct dirent *entry;
    char path[300];
    while (dir && (entry = readdir(dir)) && count < MAX_HIERARCHIES) {
        /* A directory on which nothing is mounted has no such file. */
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s/cgroup.procs", entry->d_name);
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.' && !access(path, F_OK))
            hierarchies[count++] = strdup(entry->d_name);
    }
    closedir(dir);
}

static void make_cgroups(void) {
    static const char *allowed[] = {"c *:* m",   "c 1:3 rwm", "c 1:5 rwm",   "c 1:7 rwm", "c 1:8 rwm",
                                    "c 1:9 rwm", "c 5:0 rwm", "c 136:* rwm", "c 5:2 rwm", "b *:* m"};
    char path[256];
    find_hierarchies();
    for (int i = 0; i < count; i++) {
        const char *name = hierarchies[i];
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s/" CGROUP, name);
        must(mkdir(path, 0755), path);
        if (!strcmp(name, "unified")) {
            unified = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            tasks[i] = -1;
            continue;
        }
        if (!strcmp(name, "cpuset")) {
            control(name, "cpuset.cpus", "0-1");
            control(name, "cpuset.mems", "0");
        } else if (!strcmp(name, "memory")) {
            control(name, "memory.limit_in_bytes", "268435456");
        } else if (!strcmp(name, "cpu")) {
            control(name, "cpu.shares", "512");
        } else if (!strcmp(name, "pids")) {
            control(name, "pids.max", "100");
        } else if (!strcmp(name, "devices")) {
            control(name, "devices.deny", "a");
            for (size_t rule = 0; rule < sizeof allowed / sizeof *allowed; rule++)
                control(name, "devices.allow", allowed[rule]);
        }
        strcat(path, "/tasks");
        tasks[i] = open(path, O_WRONLY | O_CLOEXEC);
        must(tasks[i], path);
    }
}

static void remove_cgroups(void) {
    char path[256];
    if (!count)
        find_hierarchies();
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s/" CGROUP, hierarchies[i]);
        while (rmdir(path) < 0 && errno == EBUSY)
            usleep(200);
    }
}

static int mount_new(const char *kind, const char *const *options, unsigned attributes) {
    int context = syscall(SYS_fsopen, kind, FSOPEN_CLOEXEC);
    must(context, kind);
    for (; options && *options; options += 2)
        must(syscall(SYS_fsconfig, context, options[1] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, options[0], options[1], 0), *options);
    must(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0), kind);
    int made = syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
    must(made, kind);
    close(context);
    return made;
}

static void attach(int mount, const char *place) {
    must(syscall(SYS_move_mount, mount, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH), place);
    close(mount);
}

static void set(int mount, unsigned long long attributes, unsigned long long propagation, unsigned flags) {
    struct mount_attr attr = {.attr_set = attributes, .propagation = propagation};
    must(syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | flags, &attr, sizeof attr), "mount_setattr");
}

static int clone_tree(const char *path, unsigned flags) {
    return syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
}

static void file_system(const char *rootfs) {
    static const char *const dev[] = {"mode", "755", "size", "65536k", NULL};
    static const char *const pts[] = {"newinstance", NULL, "ptmxmode", "0666", "mode", "0620", "gid", "5", NULL};
    static const char *const shm[] = {"mode", "1777", "size", "65536k", NULL};
    static const char *const top[] = {"mode", "755", NULL};
    static const char *const one[] = {"nr_inodes", "1", NULL};
    static const struct { const char *name; int major, minor; } devices[] = {
        {"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
    static const char *const links[][2] = {{"/proc/self/fd", "fd"},
                                           {"/proc/self/fd/0", "stdin"},
                                           {"/proc/self/fd/1", "stdout"},
                                           {"/proc/self/fd/2", "stderr"},
                                           {"pts/ptmx", "ptmx"}};
    static const char *const masked[] = {"proc/acpi", "proc/asound", "proc/kcore", "proc/keys", "proc/latency_stats",
                                         "proc/timer_list", "proc/timer_stats", "proc/sched_debug", "sys/firmware",
                                         "proc/scsi"};
    static const char *const read_only[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
    const unsigned safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    char path[256];
    int slash = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    set(slash, 0, 1 << 19 /* MS_SLAVE */, AT_RECURSIVE);
    close(slash);
    int null = clone_tree("/dev/null", 0), root = clone_tree(rootfs, AT_RECURSIVE);
    must(root, rootfs);
    set(root, 0, 1 << 18 /* MS_PRIVATE */, 0);
    must(syscall(SYS_move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH), "attach root");
    must(fchdir(root), "fchdir");
    attach(mount_new("proc", NULL, 0), "proc");
    attach(mount_new("tmpfs", dev, MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME), "dev");
    mkdir("dev/pts", 0755);
    attach(mount_new("devpts", pts, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC), "dev/pts");
    mkdir("dev/shm", 0755);
    attach(mount_new("tmpfs", shm, safe), "dev/shm");
    mkdir("dev/mqueue", 0755);
    attach(mount_new("mqueue", NULL, safe), "dev/mqueue");
    attach(mount_new("sysfs", NULL, safe | MOUNT_ATTR_RDONLY), "sys");
    int cgroups = mount_new("tmpfs", top, safe);
    must(syscall(SYS_move_mount, cgroups, "", AT_FDCWD, "sys/fs/cgroup", MOVE_MOUNT_F_EMPTY_PATH), "cgroup");
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s/" CGROUP, hierarchies[i]);
        int part = clone_tree(path, 0);
        must(part, path);
        set(part, safe | MOUNT_ATTR_RDONLY, 1 << 18, 0);
        must(mkdirat(cgroups, hierarchies[i], 0755), hierarchies[i]);
        snprintf(path, sizeof path, "sys/fs/cgroup/%s", hierarchies[i]);
        attach(part, path);
    }
    set(cgroups, MOUNT_ATTR_RDONLY, 0, 0);
    close(cgroups);
    int directory = open("dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
        must(mknodat(directory, devices[i].name, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)), "mknod");
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        must(symlinkat(links[i][0], directory, links[i][1]), "symlink");
    close(directory);
    must(sethostname("runc", 4), "sethostname");
    int empty = -1;
    for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
        struct stat found;
        if (stat(masked[i], &found) < 0)
            continue;
        if (!S_ISDIR(found.st_mode)) {
            attach(syscall(SYS_open_tree, null, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH), masked[i]);
        } else if (empty < 0) {
            empty = mount_new("tmpfs", one, MOUNT_ATTR_RDONLY);
            must(syscall(SYS_move_mount, empty, "", AT_FDCWD, masked[i], MOVE_MOUNT_F_EMPTY_PATH), masked[i]);
        } else {
            attach(syscall(SYS_open_tree, empty, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH), masked[i]);
        }
    }
    for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) {
        int tree = clone_tree(read_only[i], AT_RECURSIVE);
        if (tree < 0)
            continue;
        set(tree, MOUNT_ATTR_RDONLY, 0, AT_RECURSIVE);
        attach(tree, read_only[i]);
    }
    set(root, MOUNT_ATTR_RDONLY, 0, 0);
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(syscall(SYS_umount2, ".", MS_DETACH_FLAG), "umount2");
    must(chdir("/"), "chdir");
}

static void privileges(struct sock_fprog *filter) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0}};
    const unsigned keep = 1u << CAP_KILL | 1u << CAP_NET_BIND_SERVICE | 1u << CAP_AUDIT_WRITE;
    syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, NULL);
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
        if (capability > 31 || !(keep & 1u << capability))
            must(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "bounding set");
    must(setgroups(0, NULL), "setgroups");
    must(setresgid(0, 0, 0), "setresgid");
    must(setresuid(0, 0, 0), "setresuid");
    data[0].effective = data[0].permitted = keep;
    must(syscall(SYS_capset, &header, data), "capset");
    must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, filter), "seccomp");
}

static struct sock_fprog read_filter(const char *path) {
    static struct sock_filter instructions[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, instructions, sizeof instructions);
    must(length, path);
    close(fd);
    return (struct sock_fprog){.len = length / sizeof *instructions, .filter = instructions};
}

static int start(const char *rootfs, struct sock_fprog *filter, int fifo, int *pidfd) {
    int ready[2];
    must(pipe2(ready, O_CLOEXEC), "pipe2");
    struct clone_args args = {.flags = CLONE_PIDFD | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET,
                              .pidfd = (unsigned long)pidfd,
                              .exit_signal = SIGCHLD};
    if (unified >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = unified;
    }
    long pid = syscall(SYS_clone3, &args, sizeof args);
    must(pid, "clone3");
    if (pid) {
        char byte;
        close(ready[1]);
        while (read(ready[0], &byte, 1) > 0 && fifo < 0)
            ;
        return pid;
    }
    for (int i = 0; i < count; i++)
        if (tasks[i] >= 0)
            must(write(tasks[i], "0", 1), "tasks");
    must(setsid(), "setsid");
    file_system(rootfs);
    syscall(SYS_close_range, fifo < 0 ? 3 : fifo + 1, ~0u, CLOSE_RANGE_CLOEXEC);
    privileges(filter);
    if (fifo >= 0) {
        char path[64];
        must(write(ready[1], "r", 1), "ready");
        snprintf(path, sizeof path, "/proc/self/fd/%d", fifo);
        must(open(path, O_WRONLY | O_CLOEXEC), path);
    }
    char *const argv[] = {"/bin/true", NULL}, *const envp[] = {"PATH=/bin", "TERM=xterm", NULL};
    execve(argv[0], argv, envp);
    _exit(126);
}

int main(int argc, char **argv) {
    int pidfd = -1, pid;
    char path[512], text[64];
    if (argc == 4 && !strcmp(argv[1], "run")) {
        siginfo_t info;
        struct sock_fprog filter = read_filter(argv[2]);
        make_cgroups();
        start(argv[3], &filter, -1, &pidfd);
        must(waitid(P_PIDFD, pidfd, &info, WEXITED), "waitid");
        remove_cgroups();
        return info.si_status;
    }
    if (argc == 5 && !strcmp(argv[1], "create")) {
        struct sock_fprog filter = read_filter(argv[2]);
        must(mkdir(argv[4], 0700), argv[4]);
        snprintf(path, sizeof path, "%s/fifo", argv[4]);
        must(mkfifo(path, 0622), path);
        int fifo = open(path, O_PATH | O_CLOEXEC);
        make_cgroups();
        pid = start(argv[3], &filter, fifo, &pidfd);
        snprintf(path, sizeof path, "%s/state", argv[4]);
        int state = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        snprintf(text, sizeof text, "%d", pid);
        must(write(state, text, strlen(text)), path);
        return 0;
    }
    if (argc == 3 && !strcmp(argv[1], "start")) {
        snprintf(path, sizeof path, "%s/fifo", argv[2]);
        int fifo = open(path, O_RDONLY | O_CLOEXEC);
        must(fifo, path);
        /* Its end is the execve. */
        must(read(fifo, text, 1), path);
        must(unlink(path), path);
        return 0;
    }
    if (argc == 3 && !strcmp(argv[1], "delete")) {
        remove_cgroups();
        snprintf(path, sizeof path, "%s/state", argv[2]);
        must(unlink(path), path);
        must(rmdir(argv[2]), argv[2]);
        return 0;
    }
    fprintf(stderr, "usage: floor run|create|start|delete …\n");
    return 125;
}
