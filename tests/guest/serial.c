/* SPDX-License-Identifier: MIT */
/*
 * serial.c - prints numbered lines on COM1 and echoes the lines it receives.
 *
 * Every line is "L " and eight decimal digits. A received line X comes back as
 * "E X"; the lines "!r", "!c" and "!p" end the guest: reset by the keyboard
 * controller, reset by port 0xcf9, ACPI power off.
 * Options: every=CYCLES between lines, rx=poll|irq, exit=r|c|p with after=LINES.
 */
#include "guest.h"

#define UART              0x3f8
#define UART_IER          1
#define UART_FCR          2
#define UART_LCR          3
#define UART_MCR          4
#define UART_LSR          5
#define LSR_DATA          0x01
#define LSR_OVERRUN       0x02
#define LSR_THR_EMPTY     0x20
#define LCR_8N1           0x03
#define LCR_DLAB          0x80
#define FCR_ENABLE        0x07
#define MCR_DTR_RTS_OUT2  0x0b
#define IER_RX            0x01
#define IOAPIC_GPA        0xfec00000ul
#define IOAPIC_REDIR_IRQ4 (0x10 + 4 * 2)
#define VECTOR_UART       0x44
#define PORT_KBD_COMMAND  0x64
#define KBD_RESET         0xfe
#define PORT_RESET        0xcf9
#define PORT_PM1A_CNT     0x604
#define PM1_SLP_EN        0x2000
#define PM1_SLP_TYP_S5    (5 << 10)
#define DIGITS            8
#define LINE_MAX          200

const uint64_t guest_kind = ABI_KIND_SERIAL;

struct line {
	char text[LINE_MAX];
	unsigned int length;
};

static volatile struct abi_serial *serial(void)
{
	return abi_body();
}

static void ioapic_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)IOAPIC_GPA = reg;
	*(volatile uint32_t *)(IOAPIC_GPA + 0x10) = value;
}

static void uart_init(bool interrupts)
{
	outb(UART + UART_IER, 0);
	outb(UART + UART_LCR, LCR_DLAB);
	outb(UART, 1);
	outb(UART + 1, 0);
	outb(UART + UART_LCR, LCR_8N1);
	outb(UART + UART_FCR, FCR_ENABLE);
	outb(UART + UART_MCR, MCR_DTR_RTS_OUT2);
	if (interrupts) {
		lapic_enable();
		idt_set(VECTOR_UART, isr_uart);
		ioapic_write(IOAPIC_REDIR_IRQ4 + 1, 0);
		ioapic_write(IOAPIC_REDIR_IRQ4, VECTOR_UART);
		outb(UART + UART_IER, IER_RX);
	}
}

static void put_byte(char c)
{
	while (!(inb(UART + UART_LSR) & LSR_THR_EMPTY))
		;
	outb(UART, (uint8_t)c);
	serial()->tx_bytes++;
}

static void put_text(const char *s, unsigned int length)
{
	unsigned int i;

	for (i = 0; i < length; i++)
		put_byte(s[i]);
}

static void put_numbered(uint64_t n)
{
	char text[DIGITS + 3];
	unsigned int i;

	text[0] = 'L';
	text[1] = ' ';
	for (i = 0; i < DIGITS; i++, n /= 10)
		text[1 + DIGITS - i] = (char)('0' + n % 10);
	text[DIGITS + 2] = '\n';
	put_text(text, sizeof(text));
}

static void leave(char how)
{
	serial()->leaving = (uint64_t)how;
	switch (how) {
	case 'r':
		outb(PORT_KBD_COMMAND, KBD_RESET);
		break;
	case 'c':
		outb(PORT_RESET, 0x02);
		outb(PORT_RESET, 0x06);
		break;
	case 'p':
		outw(PORT_PM1A_CNT, PM1_SLP_EN | PM1_SLP_TYP_S5);
		break;
	default:
		serial()->leaving = 0;
		return;
	}
	spin_cycles(10000000000ul);
	abi_head()->errors++;
}

static void line_done(struct line *l)
{
	if (l->length == 2 && l->text[0] == '!')
		leave(l->text[1]);
	put_text("E ", 2);
	put_text(l->text, l->length);
	put_byte('\n');
	serial()->rx_lines++;
	l->length = 0;
}

static void byte_received(struct line *l, char c)
{
	serial()->rx_bytes++;
	if (c == '\n')
		line_done(l);
	else if (l->length < LINE_MAX)
		l->text[l->length++] = c;
}

static void receive_polled(struct line *l)
{
	uint8_t status = inb(UART + UART_LSR);

	if (status & LSR_OVERRUN)
		serial()->rx_overrun++;
	if (status & LSR_DATA)
		byte_received(l, (char)inb(UART));
}

static void receive_ring(struct line *l, uint8_t *tail)
{
	volatile uint64_t *head = &isr_ring_head;

	while (*tail != (uint8_t)*head) {
		byte_received(l, (char)*(volatile uint8_t *)&isr_ring[*tail]);
		(*tail)++;
	}
	serial()->rx_irqs = *(volatile uint64_t *)&isr_counter;
	serial()->rx_overrun = *(volatile uint64_t *)&isr_argument;
}

void guest_main(void)
{
	uint64_t every = option_number("every", 2000000), next;
	uint64_t after = option_number("after", 0);
	bool interrupts = option_is("rx", "irq");
	struct line l = { .length = 0 };
	uint8_t tail = 0;

	uart_init(interrupts);
	guest_ready();
	next = rdtsc();
	for (;;) {
		if (interrupts)
			receive_ring(&l, &tail);
		else
			receive_polled(&l);
		if (rdtsc() >= next) {
			put_numbered(serial()->lines);
			serial()->lines++;
			next = rdtsc() + every;
		}
		if (after && serial()->lines >= after) {
			leave(option_is("exit", "r") ? 'r' : option_is("exit", "c") ? 'c' : 'p');
			after = 0;
		}
		abi_head()->heartbeat++;
		if (request_poll())
			request_done(0);
	}
}
