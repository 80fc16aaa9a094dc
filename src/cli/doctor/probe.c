/*
 * Asks the kernel it runs on what `worldswitch doctor` wants to know, and prints a JSON object a line: what was asked, and the answer as
 * it was. It judges nothing. Results are those of the system call: negative ones are errno numbers.
 *
 * It asks for itself only: permissions and the VM end with it.
 */
#define ROUNDS 0
#include "../../../bench/programs/freestanding.h"

#define SYS_close 3
#define SYS_uname 63
#define SYS_arch_prctl 158
#define O_RDWR 2
#define O_CLOEXEC 02000000

#define ARCH_GET_XCOMP_SUPP 0x1021
#define ARCH_GET_XCOMP_PERM 0x1022
#define ARCH_REQ_XCOMP_PERM 0x1023
#define ARCH_GET_XCOMP_GUEST_PERM 0x1024
#define ARCH_REQ_XCOMP_GUEST_PERM 0x1025
#define XTILE_DATA 18

#define KVM_GET_API_VERSION 0xae00
#define KVM_CREATE_VM 0xae01
#define KVM_CHECK_EXTENSION 0xae03
#define KVM_GET_VCPU_MMAP_SIZE 0xae04
#define KVM_CREATE_VCPU 0xae41
#define KVM_RUN 0xae80
#define KVM_GET_SUPPORTED_CPUID 0xc008ae05
#define KVM_SET_USER_MEMORY_REGION 0x4020ae46
#define KVM_SET_REGS 0x4090ae82
#define KVM_GET_SREGS 0x8138ae83
#define KVM_SET_SREGS 0x4138ae84
#define KVM_GET_DEVICE_ATTR 0x4018aee2
#define KVM_CAP_XSAVE2 208

#define PAGE 4096
#define KVM_CPUID_ENTRIES 256

struct cpuid_entry {
	uint32_t function, index, flags, eax, ebx, ecx, edx, padding[3];
};

static struct {
	uint32_t nent, padding;
	struct cpuid_entry entries[KVM_CPUID_ENTRIES];
} supported;

static void text_of(uint64_t value, unsigned base, int negative)
{
	char text[24];
	int at = sizeof text - 1;

	text[at] = 0;
	do
		text[--at] = "0123456789abcdef"[value % base];
	while (value /= base);
	if (negative)
		text[--at] = '-';
	print(&text[at]);
}

static void number(const char *name, long value)
{
	print(",\"");
	print(name);
	print("\":");
	text_of(value < 0 ? -(uint64_t)value : (uint64_t)value, 10, value < 0);
}

static void hex(const char *name, uint64_t value)
{
	print(",\"");
	print(name);
	print("\":\"0x");
	text_of(value, 16, 0);
	print("\"");
}

/* Text of the kernel or the processor: what JSON cannot hold as it is becomes a space. */
static void text(const char *name, const char *value)
{
	char one[2] = { 0, 0 };

	print(",\"");
	print(name);
	print("\":\"");
	for (; *value; value++) {
		one[0] = *value < ' ' || *value > '~' || *value == '"' || *value == '\\' ? ' ' : *value;
		print(one);
	}
	print("\"");
}

static void fact(const char *kind)
{
	print("{\"fact\":\"");
	print(kind);
	print("\"");
}

static void end(void)
{
	print("}\n");
}

static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t regs[4])
{
	__asm__ volatile("cpuid" : "=a"(regs[0]), "=b"(regs[1]), "=c"(regs[2]), "=d"(regs[3]) : "a"(leaf), "c"(subleaf));
}

static void registers(const uint32_t regs[4])
{
	hex("eax", regs[0]);
	hex("ebx", regs[1]);
	hex("ecx", regs[2]);
	hex("edx", regs[3]);
}

static void tell_cpuid(uint32_t leaf, uint32_t subleaf)
{
	uint32_t regs[4], top[4];

	cpuid(leaf & 0x80000000, 0, top);
	if (leaf > top[0])
		return;
	cpuid(leaf, subleaf, regs);
	fact("cpuid");
	hex("leaf", leaf);
	hex("subleaf", subleaf);
	registers(regs);
	end();
}

static void tell_processor(void)
{
	uint32_t regs[4], brand[13] = { 0 };
	uint32_t lo, hi;

	cpuid(0x80000000, 0, regs);
	if (regs[0] >= 0x80000004) {
		for (uint32_t i = 0; i < 3; i++)
			cpuid(0x80000002 + i, 0, &brand[4 * i]);
		fact("brand");
		text("name", (const char *)brand);
		end();
	}
	tell_cpuid(1, 0);
	tell_cpuid(7, 0);
	tell_cpuid(0xd, 0);
	tell_cpuid(0xd, 1);
	tell_cpuid(0x80000001, 0);
	cpuid(1, 0, regs);
	if (regs[2] & (1u << 27)) {
		__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
		fact("xcr0");
		hex("value", (uint64_t)hi << 32 | lo);
		end();
	}
}

static void tell_kernel(void)
{
	static struct {
		char sysname[65], nodename[65], release[65], version[65], machine[65], domain[65];
	} names;

	if (syscall3(SYS_uname, &names, 0, 0))
		return;
	fact("uname");
	text("sysname", names.sysname);
	text("release", names.release);
	text("machine", names.machine);
	end();
}

static void get_permission(const char *name, long option)
{
	uint64_t value = 0;
	long result = syscall3(SYS_arch_prctl, option, &value, 0);

	fact("arch_prctl");
	text("option", name);
	number("result", result);
	hex("value", value);
	end();
}

static void request_permission(const char *name, long option)
{
	fact("arch_prctl");
	text("option", name);
	number("component", XTILE_DATA);
	number("result", syscall3(SYS_arch_prctl, option, XTILE_DATA, 0));
	end();
}

static long ioctl(long fd, const char *name, unsigned long request, const void *argument)
{
	long result = syscall3(SYS_ioctl, fd, request, argument);

	fact("ioctl");
	text("name", name);
	number("result", result);
	end();
	return result;
}

/* KVM_X86_XCOMP_GUEST_SUPP: what a guest could have if its process had every permission. */
static void guest_components(long kvm)
{
	uint64_t value = 0;
	struct {
		uint32_t flags, group;
		uint64_t attr, addr;
	} attr = { 0, 0, 0, (uint64_t)&value };
	long result = syscall3(SYS_ioctl, kvm, KVM_GET_DEVICE_ATTR, &attr);

	fact("guest_components");
	number("result", result);
	hex("value", value);
	end();
}

static void supported_cpuid(long kvm)
{
	supported.nent = KVM_CPUID_ENTRIES;
	if (ioctl(kvm, "KVM_GET_SUPPORTED_CPUID", KVM_GET_SUPPORTED_CPUID, &supported) < 0)
		return;
	for (uint32_t i = 0; i < supported.nent && i < KVM_CPUID_ENTRIES; i++) {
		const struct cpuid_entry *e = &supported.entries[i];

		if (e->function != 7 && e->function != 0xd && e->function != 1 && e->function != 0x1d)
			continue;
		fact("supported_cpuid");
		hex("leaf", e->function);
		hex("subleaf", e->index);
		registers((const uint32_t[4]){ e->eax, e->ebx, e->ecx, e->edx });
		end();
	}
}

/* A guest of one instruction, HLT, at address 0 in real mode: a /dev/kvm that makes VMs may still not run them. */
static void run_guest(long vm, long vcpu, long run_size)
{
	static uint64_t regs[18], sregs[39];
	struct {
		uint32_t slot, flags;
		uint64_t guest, size, user;
	} region = { 0, 0, 0, PAGE, 0 };
	long memory = syscall6(SYS_mmap, 0, PAGE, 3, 0x22, -1, 0);
	long run = syscall6(SYS_mmap, 0, run_size, 3, 1, vcpu, 0);

	if (memory < 0 || run < 0)
		return;
	*(uint8_t *)memory = 0xf4;
	region.user = (uint64_t)memory;
	if (ioctl(vm, "KVM_SET_USER_MEMORY_REGION", KVM_SET_USER_MEMORY_REGION, &region) < 0 ||
	    ioctl(vcpu, "KVM_GET_SREGS", KVM_GET_SREGS, sregs) < 0)
		return;
	/* struct kvm_segment cs comes first: base, then limit and selector. */
	sregs[0] = 0;
	*(uint16_t *)((uint8_t *)sregs + 12) = 0;
	regs[17] = 2;
	if (ioctl(vcpu, "KVM_SET_SREGS", KVM_SET_SREGS, sregs) < 0 || ioctl(vcpu, "KVM_SET_REGS", KVM_SET_REGS, regs) < 0)
		return;
	if (ioctl(vcpu, "KVM_RUN", KVM_RUN, 0) < 0)
		return;
	fact("guest_exit");
	number("reason", *(uint32_t *)((uint8_t *)run + 8));
	end();
}

static void tell_vm(long kvm)
{
	long size = syscall3(SYS_ioctl, kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	long vm = ioctl(kvm, "KVM_CREATE_VM", KVM_CREATE_VM, 0);
	long vcpu;

	if (vm < 0)
		return;
	fact("capability");
	text("name", "KVM_CAP_XSAVE2");
	number("result", syscall3(SYS_ioctl, vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2));
	end();
	vcpu = ioctl(vm, "KVM_CREATE_VCPU", KVM_CREATE_VCPU, 0);
	if (vcpu >= 0 && size > 0)
		run_guest(vm, vcpu, size);
}

static void tell_kvm(void)
{
	long kvm = syscall3(SYS_open, "/dev/kvm", O_RDWR | O_CLOEXEC, 0);

	fact("open");
	text("path", "/dev/kvm");
	number("result", kvm < 0 ? kvm : 0);
	end();
	if (kvm < 0)
		return;
	if (ioctl(kvm, "KVM_GET_API_VERSION", KVM_GET_API_VERSION, 0) < 0)
		return;
	guest_components(kvm);
	supported_cpuid(kvm);
	tell_vm(kvm);
}

static int run(unsigned long rounds)
{
	(void)rounds;
	tell_kernel();
	tell_processor();
	get_permission("ARCH_GET_XCOMP_SUPP", ARCH_GET_XCOMP_SUPP);
	get_permission("ARCH_GET_XCOMP_PERM", ARCH_GET_XCOMP_PERM);
	get_permission("ARCH_GET_XCOMP_GUEST_PERM", ARCH_GET_XCOMP_GUEST_PERM);
	request_permission("ARCH_REQ_XCOMP_PERM", ARCH_REQ_XCOMP_PERM);
	request_permission("ARCH_REQ_XCOMP_GUEST_PERM", ARCH_REQ_XCOMP_GUEST_PERM);
	tell_kvm();
	fact("end");
	end();
	return 0;
}
