/* SPDX-License-Identifier: MIT */
/* Line editing, history and completion for a person at a terminal, by libedit. */
#include <errno.h>
#include <histedit.h>
#include <limits.h>
#include <locale.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/buf.h"
#include "base/util.h"
#include "ctl/lineedit.h"
#include "ctl/terminfo.h"
#include "host/tty.h"

/*
 * DOC: theory of operation
 *
 * libedit wants to read from a terminal until a line is there. Here it gets one key at a time
 * and may not wait: in its unbuffered mode a call takes one key and returns, and what it
 * reads and writes goes through functions of ours. Keys of several bytes are collected
 * first, since libedit would ask for the rest of one that it has begun; commands that
 * read more keys by themselves are taken off the keyboard.
 *
 * It insists on a terminal whose settings it can change and whose size it can ask for. It gets
 * a pseudo-terminal that nothing is typed at; the real one may be on a socket's other side.
 *
 * It converts characters by the thread's locale, which is UTF-8 for as long as it runs.
 */

enum {
	MAX_SEQUENCE = 16,
	HISTORY_LINES = 200,
	/* libedit keeps two pictures of the window. */
	MAX_COLUMNS = 1000,
	MAX_ROWS = 200,
	MAX_WORDS = 256,
	KEY_CTRL_B = 0x02,
	KEY_CTRL_C = 0x03,
	KEY_TAB = 0x09,
	KEY_NEWLINE = 0x0a,
	KEY_RETURN = 0x0d,
	KEY_ESCAPE = 0x1b,
	KEY_DELETE = 0x7f,
};

struct line_edit {
	const struct line_edit_ops *ops;
	void *opaque;
	EditLine *el;
	HistoryW *history;
	FILE *in, *out, *null; /* libedit's ends                          */
	int master, slave;     /* of the terminal that it takes for real  */
	locale_t locale;
	wchar_t *prompt;
	size_t max;
	wchar_t keys[MAX_SEQUENCE]; /* the key that libedit is to get    */
	size_t nr_keys, key_at;
	char character[4]; /* UTF-8, as far as it came                   */
	size_t nr_character;
	bool after_return; /* a newline now belongs to it                */
	struct buf line;   /* the last one                               */
};

static struct line_edit *self(EditLine *el)
{
	struct line_edit *le = NULL;

	el_wget(el, EL_CLIENTDATA, &le);
	return le;
}

/* For libedit: the next part of the key, or none. */
static int get_char(EditLine *el, wchar_t *c)
{
	struct line_edit *le = self(el);

	if (le->key_at >= le->nr_keys)
		return 0;
	*c = le->keys[le->key_at++];
	return 1;
}

static wchar_t *get_prompt(EditLine *el)
{
	return self(el)->prompt;
}

/*
 * For stdio: newlines get a carriage return, as a terminal in raw mode needs; the NULs that old
 * terminals want while they are busy are left out.
 */
static ssize_t write_out(void *cookie, const char *p, size_t n)
{
	struct line_edit *le = cookie;
	size_t from = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i] != '\n' && p[i])
			continue;
		le->ops->output(le->opaque, p + from, i - from);
		if (p[i])
			le->ops->output(le->opaque, "\r\n", 2);
		from = i + 1;
	}
	le->ops->output(le->opaque, p + from, n - from);
	return (ssize_t)n;
}

static ssize_t write_null(void *cookie, const char *p, size_t n)
{
	(void)cookie;
	(void)p;
	return (ssize_t)n;
}

static void put_wide(struct buf *b, const wchar_t *p, size_t n)
{
	mbstate_t state = { 0 };
	char bytes[MB_LEN_MAX];

	for (size_t i = 0; i < n; i++) {
		size_t len = wcrtomb(bytes, p[i], &state);

		if (len != (size_t)-1)
			buf_put(b, bytes, len);
	}
}

struct words {
	const char *prefix;
	size_t prefix_len;
	const char *word[MAX_WORDS];
	size_t nr;
	size_t common; /* bytes that all have in common */
};

static void add_word(void *to, const char *word)
{
	struct words *w = to;
	size_t n;

	if (strncmp(word, w->prefix, w->prefix_len) || w->nr == MAX_WORDS)
		return;
	for (size_t i = 0; i < w->nr; i++)
		if (!strcmp(w->word[i], word))
			return;
	if (!w->nr)
		w->common = strlen(word);
	for (n = 0; w->nr && n < w->common && word[n] == w->word[0][n];)
		n++;
	if (w->nr)
		w->common = n;
	w->word[w->nr++] = word;
}

static int compare_words(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* In columns, below the line. */
static void list_words(struct line_edit *le, struct words *w)
{
	unsigned int columns, rows;
	size_t width = 0, per_line;

	tty_get_size(le->master, &columns, &rows);
	qsort(w->word, w->nr, sizeof(w->word[0]), compare_words);
	for (size_t i = 0; i < w->nr; i++)
		width = MAX(width, strlen(w->word[i]) + 2);
	per_line = MAX(columns / width, (size_t)1);
	for (size_t i = 0; i < w->nr; i++) {
		bool last = i + 1 == w->nr || i % per_line == per_line - 1;

		fprintf(le->out, "%s%-*s%s", i ? "" : "\n", last ? 0 : (int)width, w->word[i],
			last ? "\n" : "");
	}
}

static void insert_text(EditLine *el, const char *text, size_t n)
{
	wchar_t *wide = calloc(n + 1, sizeof(*wide));

	/* Words of ours are ASCII. */
	for (size_t i = 0; wide && i < n; i++)
		wide[i] = (unsigned char)text[i];
	if (wide)
		el_winsertstr(el, wide);
	free(wide);
}

/* For libedit, at TAB. */
static unsigned char complete(EditLine *el, int ch)
{
	struct line_edit *le = self(el);
	const LineInfoW *info = el_wline(el);
	AUTO_BUF before = { 0 };
	struct words w = { .nr = 0 };
	const char *text, *blank;

	(void)ch;
	put_wide(&before, info->buffer, (size_t)(info->cursor - info->buffer));
	buf_put_u8(&before, 0);
	if (before.failed)
		return CC_ERROR;
	text = (const char *)before.data;
	blank = strrchr(text, ' ');
	w.prefix = blank ? blank + 1 : text;
	w.prefix_len = strlen(w.prefix);
	le->ops->complete(le->opaque, text, add_word, &w);
	if (!w.nr)
		return CC_ERROR;
	if (w.nr == 1 || w.common > w.prefix_len) {
		insert_text(el, w.word[0] + w.prefix_len, w.common - w.prefix_len);
		if (w.nr == 1)
			insert_text(el, " ", 1);
		return CC_REFRESH;
	}
	list_words(le, &w);
	return CC_REDISPLAY;
}

static void bind_key(EditLine *el, const wchar_t *key, const wchar_t *function)
{
	el_wset(el, EL_BIND, key, function, NULL);
}

static void bind_keys(EditLine *el)
{
	/* They would read on by themselves, or repeat a character a million times. */
	static const wchar_t *const off[] = {
		L"^V",    L"^Q",    L"^R",    L"^S",    L"\033x", L"\033X",
		L"\033-", L"\0330", L"\0331", L"\0332", L"\0333", L"\0334",
		L"\0335", L"\0336", L"\0337", L"\0338", L"\0339",
	};

	el_wset(el, EL_EDITOR, L"emacs");
	el_wset(el, EL_ADDFN, L"complete-word", L"Complete the word", complete);
	for (size_t i = 0; i < ARRAY_SIZE(off); i++)
		bind_key(el, off[i], L"ed-unassigned");
	bind_key(el, L"^I", L"complete-word");
	/* Not the end of the input: no key of the editor ends the machine. */
	bind_key(el, L"^D", L"ed-delete-next-char");
	bind_key(el, L"^W", L"ed-delete-prev-word");
	bind_key(el, L"^R", L"ed-search-prev-history");
	bind_key(el, L"\033[3~", L"ed-delete-next-char");
	bind_key(el, L"\033[1~", L"ed-move-to-beg");
	bind_key(el, L"\033[4~", L"ed-move-to-end");
	bind_key(el, L"\033[H", L"ed-move-to-beg");
	bind_key(el, L"\033[F", L"ed-move-to-end");
}

static int open_files(struct line_edit *le, struct err *e)
{
	const cookie_io_functions_t out = { .write = write_out };
	const cookie_io_functions_t null = { .write = write_null };
	char path[64];
	int r = tty_open_pair(&le->master, &le->slave, path, sizeof(path), e);

	if (r)
		return r;
	le->in = fopencookie(le, "r", (cookie_io_functions_t){ .read = NULL });
	le->out = fopencookie(le, "w", out);
	le->null = fopencookie(le, "w", null);
	if (!le->in || !le->out || !le->null)
		return err_set(e, ENOMEM, "no memory for a line editor");
	return 0;
}

static int open_editor(struct line_edit *le, const char *terminal, struct err *e)
{
	HistEventW event;

	tty_set_size(le->master, 80, 24);
	le->el = el_init_fd("baton", le->in, le->out, le->null, le->slave, le->slave, le->slave);
	le->history = history_winit();
	if (!le->el || !le->history)
		return err_set(e, ENOMEM, "no memory for a line editor");
	history_w(le->history, &event, H_SETSIZE, HISTORY_LINES);
	history_w(le->history, &event, H_SETUNIQUE, 1);
	el_wset(le->el, EL_CLIENTDATA, le);
	if (!terminal || el_set(le->el, EL_TERMINAL, terminal) < 0)
		el_set(le->el, EL_TERMINAL, "vt100");
	terminfo_detach();
	el_wset(le->el, EL_SIGNAL, 0);
	el_wset(le->el, EL_PROMPT, get_prompt);
	el_wset(le->el, EL_HIST, history_w, le->history);
	el_wset(le->el, EL_GETCFN, get_char);
	bind_keys(le->el);
	return 0;
}

/* Runs what follows in the editor's locale; returns the one to go back to. */
static locale_t enter_locale(const struct line_edit *le)
{
	return le->locale ? uselocale(le->locale) : (locale_t)0;
}

static void leave_locale(locale_t old)
{
	if (old)
		uselocale(old);
}

int line_edit_create(struct line_edit **out, const char *terminal, const char *prompt, size_t max,
		     const struct line_edit_ops *ops, void *opaque, struct err *e)
{
	struct line_edit *le = calloc(1, sizeof(*le));
	size_t n = strlen(prompt) + 1;
	locale_t old;
	int r;

	if (!le)
		return err_set(e, ENOMEM, "no memory for a line editor");
	le->ops = ops;
	le->opaque = opaque;
	le->max = max;
	le->master = le->slave = -1;
	/* Without it what is not ASCII cannot be typed, no more. */
	le->locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	le->prompt = calloc(n, sizeof(*le->prompt));
	for (size_t i = 0; le->prompt && i < n; i++)
		le->prompt[i] = (unsigned char)prompt[i];
	old = enter_locale(le);
	r = le->prompt ? open_files(le, e) : err_set(e, ENOMEM, "no memory for a line editor");
	if (!r)
		r = open_editor(le, terminal, e);
	leave_locale(old);
	if (r)
		line_edit_destroy(le);
	else
		*out = le;
	return r;
}

static void close_file(FILE *f)
{
	if (f)
		fclose(f);
}

static void drop_output(void *opaque, const char *p, size_t n)
{
	(void)opaque;
	(void)p;
	(void)n;
}

void line_edit_destroy(struct line_edit *le)
{
	static const struct line_edit_ops silent = { .output = drop_output };
	locale_t old;

	if (!le)
		return;
	old = enter_locale(le);
	le->ops = &silent;
	if (le->el)
		el_end(le->el);
	if (le->history)
		history_wend(le->history);
	close_file(le->in);
	close_file(le->out);
	close_file(le->null);
	leave_locale(old);
	if (le->locale)
		freelocale(le->locale);
	close_fd(&le->slave);
	close_fd(&le->master);
	buf_fini(&le->line);
	free(le->prompt);
	free(le);
}

void line_edit_begin(struct line_edit *le, unsigned int columns, unsigned int rows)
{
	locale_t old = enter_locale(le);

	columns = columns ? MIN(columns, (unsigned int)MAX_COLUMNS) : 80;
	rows = rows ? MIN(rows, (unsigned int)MAX_ROWS) : 24;
	tty_set_size(le->master, columns, rows);
	/* Leaving and entering the mode forgets the line and shows the prompt. */
	el_wset(le->el, EL_UNBUFFERED, 0);
	el_wset(le->el, EL_UNBUFFERED, 1);
	fflush(le->out);
	leave_locale(old);
}

/* Bytes in the line now. */
static size_t line_length(struct line_edit *le)
{
	const LineInfoW *info = el_wline(le->el);
	mbstate_t state = { 0 };
	char bytes[MB_LEN_MAX];
	size_t sum = 0;

	for (const wchar_t *p = info->buffer; p < info->lastchar; p++) {
		size_t n = wcrtomb(bytes, *p, &state);

		sum += n == (size_t)-1 ? 0 : n;
	}
	return sum;
}

static void restart_line(struct line_edit *le, const char *text)
{
	unsigned int columns, rows;

	tty_get_size(le->master, &columns, &rows);
	fputs(text, le->out);
	fflush(le->out);
	line_edit_begin(le, columns, rows);
}

/* The line, without its end, becomes le->line and part of the history. */
static void take_line(struct line_edit *le, const wchar_t *p, size_t n)
{
	AUTO_FREE wchar_t *copy = calloc(n + 1, sizeof(*copy));
	HistEventW event;

	while (n && (p[n - 1] == L'\n' || p[n - 1] == L'\r'))
		n--;
	le->line.len = 0;
	put_wide(&le->line, p, n);
	buf_put_u8(&le->line, 0);
	if (!copy || !n)
		return;
	memcpy(copy, p, n * sizeof(*copy));
	history_w(le->history, &event, H_ENTER, copy);
}

/* Gives libedit the key in le->keys; true if the line is complete. */
static bool press_key(struct line_edit *le)
{
	const wchar_t *p;
	int n = 0;

	le->key_at = 0;
	p = el_wgets(le->el, &n);
	/* The rest of a sequence that means nothing is not text. */
	le->nr_keys = 0;
	fflush(le->out);
	if (p && n > 0 && (p[n - 1] == L'\n' || p[n - 1] == L'\r')) {
		take_line(le, p, (size_t)n);
		return true;
	}
	/* A paste of what was cut can do that. */
	if (line_length(le) >= le->max)
		restart_line(le, "\nError: the line is too long\n");
	return false;
}

/* Adds a part of a key; true if it is whole. ESC, ESC [ ... and ESC O are beginnings. */
static bool add_key(struct line_edit *le, wchar_t c)
{
	size_t n = le->nr_keys;

	if (n == MAX_SEQUENCE) {
		le->nr_keys = 0;
		return false;
	}
	le->keys[le->nr_keys++] = c;
	if (n == 0)
		return c != KEY_ESCAPE;
	if (n == 1)
		return c != L'[' && c != L'O';
	return le->keys[1] != L'[' || (c >= 0x40 && c <= 0x7e);
}

/* Adds a byte to the character that comes; true and *@c if it is whole. */
static bool add_byte(struct line_edit *le, unsigned char byte, wchar_t *c)
{
	mbstate_t state = { 0 };
	size_t n;

	le->character[le->nr_character++] = (char)byte;
	n = mbrtowc(c, le->character, le->nr_character, &state);
	if (n == (size_t)-2 && le->nr_character < sizeof(le->character))
		return false;
	le->nr_character = 0;
	return n != (size_t)-1 && n != (size_t)-2 && *c;
}

static bool type_byte(struct line_edit *le, unsigned char byte)
{
	bool after_return = le->after_return;
	wchar_t c;

	le->after_return = byte == KEY_RETURN;
	if (byte == KEY_NEWLINE && after_return)
		return false;
	if (byte == KEY_CTRL_C) {
		le->nr_keys = le->nr_character = 0;
		restart_line(le, "^C\n");
		return false;
	}
	if (!add_byte(le, byte, &c) || !add_key(le, c))
		return false;
	if (le->nr_keys == 1 && c >= L' ' && c != KEY_DELETE && line_length(le) + 4 >= le->max) {
		le->nr_keys = 0;
		le->ops->output(le->opaque, "\a", 1);
		return false;
	}
	return press_key(le);
}

const char *line_edit_type(struct line_edit *le, unsigned char byte)
{
	locale_t old = enter_locale(le);
	bool whole = type_byte(le, byte);

	leave_locale(old);
	return whole && !le->line.failed ? (const char *)le->line.data : NULL;
}

void line_edit_get(struct line_edit *le, struct buf *text, size_t *behind)
{
	locale_t old = enter_locale(le);
	const LineInfoW *info = el_wline(le->el);

	put_wide(text, info->buffer, (size_t)(info->lastchar - info->buffer));
	*behind = (size_t)(info->lastchar - info->cursor);
	leave_locale(old);
}

int line_edit_set(struct line_edit *le, const void *text, size_t n, size_t behind, struct err *e)
{
	const unsigned char *p = text;
	bool bad = n >= le->max || behind > n;

	for (size_t i = 0; i < n && !bad; i++)
		bad = p[i] < ' ' || p[i] == KEY_DELETE;
	if (bad)
		return err_set(e, EINVAL, "the half line of a monitor's terminal is malformed");
	for (size_t i = 0; i < n; i++)
		line_edit_type(le, p[i]);
	while (behind--)
		line_edit_type(le, KEY_CTRL_B);
	return 0;
}
