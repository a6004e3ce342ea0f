/* SPDX-License-Identifier: MIT */
/* Giving up privileges for good: another user, another root directory. */
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/parse.h"
#include "base/util.h"
#include "host/hostid.h"
#include "host/privileges.h"

/* Environment of the next image: what struct mark has, one word a line. */
#define MARK "BATON_RUN_WITH"

enum {
	MARK_BYTES = 8192,
};

/* What was given up, and in which process. */
struct mark {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	uint64_t dev, ino; /* of the root directory */
	const char *user;  /* as it was given; empty: none */
	const char *root;
	char text[MARK_BYTES];
};

static FILE *open_list(const char *path, struct err *e)
{
	FILE *f = fopen(path, "re");

	if (!f)
		err_set_errno(e, "cannot open %s", path);
	return f;
}

/* Without the C library's name services, which would load code of others into this process. */
static int find_groups(struct privileges *p, const char *name, struct err *e)
{
	FILE *f = open_list("/etc/group", e);
	const struct group *g;
	int r = 0;

	if (!f)
		return -e->code;
	while (!r && (g = fgetgrent(f))) {
		char **m = g->gr_mem;

		while (*m && strcmp(*m, name))
			m++;
		if (!*m || g->gr_gid == p->gid)
			continue;
		if (p->nr_groups == PRIVILEGES_MAX_GROUPS)
			r = err_set(e, E2BIG, "user '%s' is in more than %d groups", name,
				    PRIVILEGES_MAX_GROUPS);
		else
			p->groups[p->nr_groups++] = g->gr_gid;
	}
	fclose(f);
	return r;
}

static int find_name(struct privileges *p, struct err *e)
{
	FILE *f = open_list("/etc/passwd", e);
	const struct passwd *pw;

	if (!f)
		return -e->code;
	while ((pw = fgetpwent(f)) && strcmp(pw->pw_name, p->user))
		;
	if (pw) {
		p->uid = pw->pw_uid;
		p->gid = pw->pw_gid;
	}
	fclose(f);
	if (!pw)
		return err_set(e, ENOENT, "user '%s' is neither in /etc/passwd nor UID:GID",
			       p->user);
	return find_groups(p, p->user, e);
}

static int find_numbers(struct privileges *p, const char *colon, struct err *e)
{
	/* The largest number means "as before" to the kernel. */
	const uint64_t max = UINT32_MAX - 1;
	uint64_t uid, gid;
	char text[16];
	int r;

	if ((size_t)(colon - p->user) >= sizeof(text))
		return err_set(e, EINVAL, "user '%s' is not UID:GID", p->user);
	snprintf(text, sizeof(text), "%.*s", (int)(colon - p->user), p->user);
	r = parse_uint(text, max, &uid, e);
	if (!r)
		r = parse_uint(colon + 1, max, &gid, e);
	if (r)
		return err_prefix(e, "user '%s'", p->user);
	p->uid = (uid_t)uid;
	p->gid = (gid_t)gid;
	return 0;
}

static int find_user(struct privileges *p, struct err *e)
{
	const char *colon = p->user ? strchr(p->user, ':') : NULL;
	int r;

	p->nr_groups = 0;
	if (!p->user)
		return 0;
	r = colon ? find_numbers(p, colon, e) : find_name(p, e);
	if (!r && !p->uid)
		r = err_set(e, EINVAL, "user '%s' is root, who gives up nothing", p->user);
	return r;
}

int privileges_prepare(struct privileges *p, struct err *e)
{
	int r = find_user(p, e);

	if (r)
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_set_errno(e, "cannot give up gaining privileges");
	return 0;
}

/* A directory that somebody left open leads out of any new root. */
static int check_descriptors(struct err *e)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *d;
	struct stat st;
	int r = 0;

	while (!r && dir && (d = readdir(dir))) {
		int fd = (int)strtol(d->d_name, NULL, 10);

		if (d->d_name[0] == '.' || fd == dirfd(dir) || fstat(fd, &st) ||
		    !S_ISDIR(st.st_mode))
			continue;
		r = err_set(e, EPERM, "descriptor %d is a directory, which leads out again", fd);
	}
	if (dir)
		closedir(dir);
	return r;
}

static int change_root(const char *root, struct err *e)
{
	int r = check_descriptors(e);

	if (!r)
		r = host_keep_boot_id(e);
	if (r)
		return err_prefix(e, "chroot=%s", root);
	if (chdir(root) || chroot(".") || chdir("/"))
		return err_set_errno(e, "chroot=%s", root);
	return 0;
}

static bool has_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0 } };

	if (syscall(SYS_capget, &head, data))
		return true;
	return data[0].permitted || data[1].permitted || data[0].effective || data[1].effective;
}

/* By trying, for the calls' word is not enough. Each would succeed only where something is left. */
static int check_no_way_back(const struct privileges *p, struct err *e)
{
	uid_t u[3];
	gid_t g[3];

	if (getresuid(&u[0], &u[1], &u[2]) || getresgid(&g[0], &g[1], &g[2]))
		return err_set_errno(e, "cannot learn who this process is");
	for (int i = 0; i < 3; i++)
		if (u[i] != p->uid || g[i] != p->gid)
			return err_set(e, EPERM, "user=%s: the process is still user %u, group %u",
				       p->user, u[i], g[i]);
	if (!setresuid((uid_t)-1, 0, (uid_t)-1) || !setuid(0) ||
	    (p->gid && !setresgid((gid_t)-1, 0, (gid_t)-1)) || !setgroups(1, &p->gid))
		return err_set(e, EPERM, "user=%s: there is a way back to root", p->user);
	if (has_capabilities())
		return err_set(e, EPERM,
			       "user=%s: capabilities are left; start as root, or "
			       "without any",
			       p->user);
	return 0;
}

static bool is_user(const struct privileges *p)
{
	return getuid() == p->uid && geteuid() == p->uid && getgid() == p->gid &&
	       getegid() == p->gid;
}

static int change_user(const struct privileges *p, struct err *e)
{
	/* Who is that user already, and not root, keeps the groups it cannot change. */
	if (setgroups(p->nr_groups, p->groups) && !(errno == EPERM && is_user(p)))
		return err_set_errno(e, "user=%s: cannot change the groups", p->user);
	if (setresgid(p->gid, p->gid, p->gid))
		return err_set_errno(e, "user=%s: cannot become group %u", p->user, p->gid);
	if (setresuid(p->uid, p->uid, p->uid))
		return err_set_errno(e, "user=%s: cannot become user %u", p->user, p->uid);
	return check_no_way_back(p, e);
}

static int set_mark(const struct privileges *p, struct err *e)
{
	struct mark m;
	struct stat st;

	if (stat("/", &st))
		return err_set_errno(e, "cannot look at the root directory");
	if ((size_t)snprintf(m.text, sizeof(m.text), "%d\n%u\n%u\n%llu\n%llu\n%s\n%s", getpid(),
			     geteuid(), getegid(), (unsigned long long)st.st_dev,
			     (unsigned long long)st.st_ino, p->user ? p->user : "",
			     p->root ? p->root : "") >= sizeof(m.text))
		return err_set(e, ENAMETOOLONG, "the names are too long");
	if (setenv(MARK, m.text, 1))
		return err_set_errno(e, "cannot set %s", MARK);
	return 0;
}

int privileges_drop(const struct privileges *p, struct err *e)
{
	int r = p->root ? change_root(p->root, e) : 0;

	if (!r && p->user)
		r = change_user(p, e);
	if (!r)
		r = set_mark(p, e);
	if (!r)
		privileges_keep();
	return r;
}

void privileges_keep(void)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* Takes the next line off @*text; false: there is none, or it is no number. */
static bool next_number(char **text, uint64_t *out)
{
	const char *line = strsep(text, "\n");
	struct err ignored;

	return line && *text && !parse_uint(line, UINT64_MAX, out, &ignored);
}

/* False if there is no mark, or it is not true of process @pid, which this one is or runs in. */
static bool get_mark(struct mark *m, pid_t pid)
{
	const char *text = getenv(MARK);
	char *rest = m->text;
	uint64_t n[5];
	struct stat st;

	if (!text || strlen(text) >= sizeof(m->text))
		return false;
	memcpy(m->text, text, strlen(text) + 1);
	for (size_t i = 0; i < ARRAY_SIZE(n); i++)
		if (!next_number(&rest, &n[i]))
			return false;
	m->pid = (pid_t)n[0];
	m->uid = (uid_t)n[1];
	m->gid = (gid_t)n[2];
	m->dev = n[3];
	m->ino = n[4];
	m->user = strsep(&rest, "\n");
	m->root = rest ? rest : "";
	return m->pid == pid && getuid() == m->uid && geteuid() == m->uid && getgid() == m->gid &&
	       getegid() == m->gid && !stat("/", &st) && st.st_dev == m->dev && st.st_ino == m->ino;
}

bool privileges_are_dropped(pid_t pid)
{
	struct mark m;

	return get_mark(&m, pid);
}

static bool is_same_user(const struct privileges *p, const struct mark *m)
{
	struct privileges found = *p;
	struct err ignored;

	if (!p->user || !strcmp(p->user, m->user))
		return true;
	/* A new root may lack the list of users: then the text decides. */
	return m->user[0] && !find_user(&found, &ignored) && found.uid == m->uid &&
	       found.gid == m->gid;
}

/* Also by a name that leads there from within. */
static bool is_same_root(const struct privileges *p, const struct mark *m)
{
	struct stat st;

	if (!p->root || !strcmp(p->root, m->root))
		return true;
	return m->root[0] && !stat(p->root, &st) && st.st_dev == m->dev && st.st_ino == m->ino;
}

int privileges_check(const struct privileges *p, pid_t pid, struct err *e)
{
	struct mark m;

	if (!p->user && !p->root)
		return 0;
	if (!get_mark(&m, pid))
		return err_set(e, EPERM,
			       "an update within a process does not change its user or root "
			       "directory: cpr-transfer can");
	if (!is_same_user(p, &m))
		return err_set(e, EPERM, "user=%s: this process is '%s' (%u:%u) for good", p->user,
			       m.user, m.uid, m.gid);
	if (!is_same_root(p, &m))
		return err_set(e, EPERM, "chroot=%s: this process is in '%s' for good", p->root,
			       m.root[0] ? m.root : "/");
	return 0;
}

void privileges_use_files_as(uid_t uid, gid_t gid)
{
	setfsgid(gid);
	setfsuid(uid);
}
