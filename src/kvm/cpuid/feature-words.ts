// biome-ignore-all format: one CPUID word a row

/**
 * Feature words of KVM_GET_SUPPORTED_CPUID for kernel profile linux-6.12: what KVM is able to offer, before it is cut down to
 * what the host's CPUID has. Names are Linux's X86_FEATURE_* (arch/x86/include/asm/cpufeatures.h), numbers are bits of the
 * named register. Source: Linux 6.12 arch/x86/kvm/cpuid.c kvm_set_cpu_caps(), word by word in its order.
 */

export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx'

export interface FeatureWord {
  /** Linux's name of the CPUID word. */
  readonly name: string
  readonly leaf: number
  readonly subleaf: number
  readonly reg: CpuidRegister
  readonly bits: Readonly<Record<string, number>>
  /** All bits of the row as a mask. */
  readonly mask: number
}

function word(name: string, leaf: number, subleaf: number, reg: CpuidRegister, bits: Record<string, number>): FeatureWord {
  let mask = 0
  for (const bit of Object.values(bits)) mask |= 1 << bit
  return { name, leaf, subleaf, reg, bits, mask: mask >>> 0 }
}

/** Bits the host has and KVM can pass on. */
export const KVM_FEATURE_WORDS_6_12: readonly FeatureWord[] = [
  word('CPUID_1_ECX', 0x1, 0, 'ecx', { XMM3: 0, PCLMULQDQ: 1, SSSE3: 9, FMA: 12, CX16: 13, PDCM: 15, PCID: 17, XMM4_1: 19, XMM4_2: 20, X2APIC: 21, MOVBE: 22, POPCNT: 23, AES: 25, XSAVE: 26, AVX: 28, F16C: 29, RDRAND: 30 }),
  word('CPUID_1_EDX', 0x1, 0, 'edx', { FPU: 0, VME: 1, DE: 2, PSE: 3, TSC: 4, MSR: 5, PAE: 6, MCE: 7, CX8: 8, APIC: 9, SEP: 11, MTRR: 12, PGE: 13, MCA: 14, CMOV: 15, PAT: 16, PSE36: 17, CLFLUSH: 19, MMX: 23, FXSR: 24, XMM: 25, XMM2: 26, SELFSNOOP: 27 }),
  word('CPUID_7_0_EBX', 0x7, 0, 'ebx', { FSGSBASE: 0, SGX: 2, BMI1: 3, HLE: 4, AVX2: 5, FDP_EXCPTN_ONLY: 6, SMEP: 7, BMI2: 8, ERMS: 9, INVPCID: 10, RTM: 11, ZERO_FCS_FDS: 13, AVX512F: 16, AVX512DQ: 17, RDSEED: 18, ADX: 19, SMAP: 20, AVX512IFMA: 21, CLFLUSHOPT: 23, CLWB: 24, AVX512PF: 26, AVX512ER: 27, AVX512CD: 28, SHA_NI: 29, AVX512BW: 30, AVX512VL: 31 }),
  word('CPUID_7_ECX', 0x7, 0, 'ecx', { AVX512VBMI: 1, UMIP: 2, PKU: 3, AVX512_VBMI2: 6, GFNI: 8, VAES: 9, VPCLMULQDQ: 10, AVX512_VNNI: 11, AVX512_BITALG: 12, AVX512_VPOPCNTDQ: 14, LA57: 16, RDPID: 22, BUS_LOCK_DETECT: 24, CLDEMOTE: 25, MOVDIRI: 27, MOVDIR64B: 28, SGX_LC: 30 }),
  word('CPUID_7_EDX', 0x7, 0, 'edx', { AVX512_4VNNIW: 2, AVX512_4FMAPS: 3, FSRM: 4, AVX512_VP2INTERSECT: 8, MD_CLEAR: 10, SERIALIZE: 14, TSXLDTRK: 16, AMX_BF16: 22, AVX512_FP16: 23, AMX_TILE: 24, AMX_INT8: 25, SPEC_CTRL: 26, INTEL_STIBP: 27, FLUSH_L1D: 28, ARCH_CAPABILITIES: 29, SPEC_CTRL_SSBD: 31 }),
  word('CPUID_7_1_EAX', 0x7, 1, 'eax', { AVX_VNNI: 4, AVX512_BF16: 5, CMPCCXADD: 7, FZRM: 10, FSRS: 11, FSRC: 12, AMX_FP16: 21, AVX_IFMA: 23, LAM: 26 }),
  word('CPUID_7_1_EDX', 0x7, 1, 'edx', { AVX_VNNI_INT8: 4, AVX_NE_CONVERT: 5, AMX_COMPLEX: 8, PREFETCHITI: 14, AVX10: 19 }),
  word('CPUID_7_2_EDX', 0x7, 2, 'edx', { INTEL_PSFD: 0, IPRED_CTRL: 1, RRSBA_CTRL: 2, DDPD_U: 3, BHI_CTRL: 4, MCDT_NO: 5 }),
  word('CPUID_D_1_EAX', 0xd, 1, 'eax', { XSAVEOPT: 0, XSAVEC: 1, XGETBV1: 2, XSAVES: 3, XFD: 4 }),
  word('CPUID_12_EAX', 0x12, 0, 'eax', { SGX1: 0, SGX2: 1, SGX_EDECCSSA: 11 }),
  word('CPUID_24_0_EBX', 0x24, 0, 'ebx', { AVX10_128: 16, AVX10_256: 17, AVX10_512: 18 }),
  word('CPUID_8000_0001_ECX', 0x80000001, 0, 'ecx', { LAHF_LM: 0, CMP_LEGACY: 1, CR8_LEGACY: 4, ABM: 5, SSE4A: 6, MISALIGNSSE: 7, '3DNOWPREFETCH': 8, OSVW: 9, XOP: 11, FMA4: 16, TBM: 21, TOPOEXT: 22 }),
  word('CPUID_8000_0001_EDX', 0x80000001, 0, 'edx', { FPU: 0, VME: 1, DE: 2, PSE: 3, TSC: 4, MSR: 5, PAE: 6, MCE: 7, CX8: 8, APIC: 9, SYSCALL: 11, MTRR: 12, PGE: 13, MCA: 14, CMOV: 15, PAT: 16, PSE36: 17, NX: 20, MMXEXT: 22, MMX: 23, FXSR: 24, FXSR_OPT: 25, GBPAGES: 26, RDTSCP: 27, LM: 29, '3DNOWEXT': 30, '3DNOW': 31 }),
  word('CPUID_8000_0007_EDX', 0x80000007, 0, 'edx', { CONSTANT_TSC: 8 }),
  word('CPUID_8000_0008_EBX', 0x80000008, 0, 'ebx', { CLZERO: 0, XSAVEERPTR: 2, WBNOINVD: 9, AMD_IBPB: 12, AMD_IBRS: 14, AMD_STIBP: 15, AMD_STIBP_ALWAYS_ON: 17, AMD_SSBD: 24, VIRT_SSBD: 25, AMD_SSB_NO: 26, AMD_PSFD: 28 }),
  word('CPUID_8000_000A_EDX', 0x8000000a, 0, 'edx', {}),
  word('CPUID_8000_001F_EAX', 0x8000001f, 0, 'eax', { SME_COHERENT: 10 }),
  word('CPUID_8000_0021_EAX', 0x80000021, 0, 'eax', { NO_NESTED_DATA_BP: 0, WRMSR_XX_BASE_NS: 1, LFENCE_RDTSC: 2, VERW_CLEAR: 5, NULL_SEL_CLR_BASE: 6, AUTOIBRS: 8, SRSO_USER_KERNEL_NO: 30 }),
  word('CPUID_8000_0022_EAX', 0x80000022, 0, 'eax', { PERFMON_V2: 0 }),
  word('CPUID_8000_0021_ECX', 0x80000021, 0, 'ecx', { TSA_SQ_NO: 1, TSA_L1_NO: 2, TSA_FILL_NO: 7 }),
]

/**
 * Bits of the same words that the rules of cpu-caps.ts name although they are not simply passed on: KVM sets them itself, or
 * only the vendor module may (vmx_set_cpu_caps, svm_set_cpu_caps).
 */
export const KVM_CONDITIONAL_BITS: readonly FeatureWord[] = [
  word('CPUID_1_ECX', 0x1, 0, 'ecx', { MWAIT: 3, VMX: 5, OSXSAVE: 27, HYPERVISOR: 31 }),
  word('CPUID_7_0_EBX', 0x7, 0, 'ebx', { TSC_ADJUST: 1, MPX: 14, INTEL_PT: 25 }),
  word('CPUID_7_ECX', 0x7, 0, 'ecx', { WAITPKG: 5, SHSTK: 7 }),
  word('CPUID_7_EDX', 0x7, 0, 'edx', { IBT: 20, CORE_CAPABILITIES: 30 }),
  word('CPUID_8000_0001_ECX', 0x80000001, 0, 'ecx', { SVM: 2, PERFCTR_CORE: 23 }),
  word('CPUID_8000_000A_EDX', 0x8000000a, 0, 'edx', { NPT: 0, LBRV: 1, NRIPS: 3, VMCBCLEAN: 5, FLUSHBYASID: 6, PAUSEFILTER: 10, PFTHRESHOLD: 12, V_VMSAVE_VMLOAD: 15, VGIF: 16, VNMI: 25, SVME_ADDR_CHK: 28 }),
  word('CPUID_8000_0021_EAX', 0x80000021, 0, 'eax', { NO_SMM_CTL_MSR: 9, SBPB: 27, IBPB_BRTYPE: 28, SRSO_NO: 29 }),
]
