/* SPDX-License-Identifier: MIT */
/* MSI-X: a function's table of messages and which of them wait. */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "dev/pci/host.h"
#include "dev/pci/msix.h"
#include "dev/pci/regs.h"
#include "machine/vm.h"

/* PCI Express Base Specification, section 6.1.4 and 7.7.2. */
enum {
	CAP_BYTES = 12,
	CAP_TABLE = 4,   /* offset and number of the BAR */
	CAP_PENDING = 8, /* likewise                     */
	ENTRY_BYTES = 16,
	BAR_BYTES = 4096,
	PENDING_AT = 2048,
};

/* Where writes are interrupt messages; others of a guest's making go nowhere. */
#define MSI_WINDOW UINT64_C(0xfee00000)
#define MSI_MASK   (~UINT64_C(0xfffff))

_Static_assert(PCI_MSIX_MAX *ENTRY_BYTES <= PENDING_AT, "the table ends before the pending bits");
_Static_assert(PCI_MSIX_MAX <= 64, "there is a pending bit for each vector");

static bool is_masked(const struct pci_function *f, unsigned int vector)
{
	return !msix_is_open(f) || f->s->msix[vector].ctrl & PCI_MSIX_VECTOR_MASKED;
}

static void send(struct pci_function *f, unsigned int vector)
{
	uint64_t addr = f->s->msix[vector].addr;

	/* A message is a write of the device to memory. */
	if (pci_is_master(f) && (addr & MSI_MASK) == MSI_WINDOW)
		f->bus->host->h.send_msi(f->vm, addr, f->s->msix[vector].data);
}

static void send_if_pending(struct pci_function *f, unsigned int vector)
{
	if (!(f->s->msix_pending >> vector & 1) || is_masked(f, vector))
		return;
	f->s->msix_pending &= ~(UINT64_C(1) << vector);
	send(f, vector);
}

void msix_send_pending(struct pci_function *f)
{
	for (unsigned int i = 0; f->s->msix_pending && i < f->nr_vectors; i++)
		send_if_pending(f, i);
}

static uint64_t table_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct pci_function *f = opaque;
	unsigned int vector = (unsigned int)offset / ENTRY_BYTES;
	/* Eight bytes may begin at the last word; what is behind it reads as zero. */
	uint32_t words[6] = { 0 };
	uint64_t v = 0;

	if (vector < f->nr_vectors) {
		words[0] = (uint32_t)f->s->msix[vector].addr;
		words[1] = (uint32_t)(f->s->msix[vector].addr >> 32);
		words[2] = f->s->msix[vector].data;
		words[3] = f->s->msix[vector].ctrl;
	} else if (offset >= PENDING_AT && offset < PENDING_AT + 8) {
		/* What is after its end reads as zero. */
		words[offset % ENTRY_BYTES / 4] =
			(uint32_t)(f->s->msix_pending >> (offset % 8 * 8));
		if (size == 8)
			words[offset % ENTRY_BYTES / 4 + 1] = (uint32_t)(f->s->msix_pending >> 32);
	}
	memcpy(&v, (const uint8_t *)words + (offset % ENTRY_BYTES & ~3u), MIN(size, 8u));
	return v;
}

static void write_word(struct pci_function *f, unsigned int vector, unsigned int word,
		       uint32_t value)
{
	struct pci_state *s = f->s;
	uint64_t addr = s->msix[vector].addr;

	switch (word) {
	case 0:
		s->msix[vector].addr = (addr & ~UINT64_C(0xffffffff)) | (value & ~3u);
		break;
	case 1:
		s->msix[vector].addr = (uint64_t)value << 32 | (uint32_t)addr;
		break;
	case 2:
		s->msix[vector].data = value;
		break;
	default:
		s->msix[vector].ctrl = value & PCI_MSIX_VECTOR_MASKED;
		send_if_pending(f, vector);
		break;
	}
}

static void table_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pci_function *f = opaque;

	for (; size; size -= 4, offset += 4, value >>= 32)
		if (offset / ENTRY_BYTES < f->nr_vectors)
			write_word(f, (unsigned int)offset / ENTRY_BYTES, offset / 4 % 4,
				   (uint32_t)value);
}

int pci_add_msix(struct pci_function *f, unsigned int bar, unsigned int vectors, struct err *e)
{
	const struct io_region table = {
		.name = "MSI-X table",
		.min_size = 4,
		.max_size = 8,
		.read = table_read,
		.write = table_write,
		.opaque = f,
	};
	int cap;

	if (!vectors || vectors > PCI_MSIX_MAX)
		return err_set(e, EINVAL, "%u MSI-X vectors are not possible, at most %d are",
			       vectors, PCI_MSIX_MAX);
	cap = pci_add_capability(f, PCI_CAP_MSIX, CAP_BYTES, e);
	if (cap < 0)
		return cap;
	f->msix_cap = (uint8_t)cap;
	f->nr_vectors = vectors;
	pci_set_initial16(f, f->msix_cap + PCI_MSIX_CONTROL, (uint16_t)(vectors - 1),
			  PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL);
	pci_set_initial32(f, f->msix_cap + CAP_TABLE, bar, 0);
	pci_set_initial32(f, f->msix_cap + CAP_PENDING, PENDING_AT | bar, 0);
	pci_add_bar(f, bar, PCI_BAR_MEM32, BAR_BYTES, &table);
	return 0;
}

bool pci_msix_enabled(const struct pci_function *f)
{
	return f->msix_cap && pci_get16(f, f->msix_cap + PCI_MSIX_CONTROL) & PCI_MSIX_ENABLE;
}

bool msix_is_open(const struct pci_function *f)
{
	return pci_msix_enabled(f) &&
	       !(pci_get16(f, f->msix_cap + PCI_MSIX_CONTROL) & PCI_MSIX_MASK_ALL);
}

void pci_notify(struct pci_function *f, unsigned int vector)
{
	if (vector >= f->nr_vectors || !pci_msix_enabled(f))
		return;
	if (is_masked(f, vector))
		f->s->msix_pending |= UINT64_C(1) << vector;
	else
		send(f, vector);
}

int msix_check_state(const struct pci_function *f, const struct pci_state *s, struct err *e)
{
	if (s->nr_vectors != f->nr_vectors)
		return err_set(e, EINVAL, "%s has %u MSI-X vectors here, %u in the state",
			       f->dev->path, f->nr_vectors, s->nr_vectors);
	if (f->nr_vectors < 64 && s->msix_pending >> f->nr_vectors)
		return err_set(e, EINVAL, "%s has %u MSI-X vectors, and one beyond is pending",
			       f->dev->path, f->nr_vectors);
	for (unsigned int i = 0; i < f->nr_vectors; i++)
		if (s->msix[i].addr & 3 || s->msix[i].ctrl & ~PCI_MSIX_VECTOR_MASKED)
			return err_set(e, EINVAL, "MSI-X vector %u of %s is none it can have", i,
				       f->dev->path);
	return 0;
}
