import { type CpuidRegister, type FeatureWord, KVM_CONDITIONAL_BITS, KVM_FEATURE_WORDS_6_12 } from './feature-words.ts'

export interface CpuidResult {
  eax: number
  ebx: number
  ecx: number
  edx: number
}

/** What KVM asks of the host when the module loads. */
export interface HostCpu {
  /** CPUID as the host kernel executes it. */
  cpuid(leaf: number, subleaf: number): CpuidResult
  /** Host XCR0: the user features Linux switched on (PERM-11). */
  readonly xcr0: number
  /** Value of IA32_ARCH_CAPABILITIES, 0n without it. */
  readonly archCapabilities: bigint
  /** True when the vendor module is kvm_amd. */
  readonly isAmd: boolean
  /** CET can be given to guests: all conditions of CET-21. */
  readonly offersCet?: boolean
  /** Its parameter `nested`. */
  readonly nested?: boolean
}

/** Bits of IA32_ARCH_CAPABILITIES that decide CPUID bits (SDM Vol. 4, MSR 10AH). */
const ARCH_CAP_SSB_NO = 1n << 4n

/**
 * kvm_cpu_caps: which CPUID feature bits this KVM on this host can offer a guest.
 *
 * A word is (KVM's list AND the host's CPUID), then bits KVM adds because it emulates them or because the host has the same
 * thing under another name, then bits the vendor module takes away. Linux 6.12 kvm_set_cpu_caps(), vmx_set_cpu_caps(),
 * svm_set_cpu_caps(). KAPI-82, KAPI-84, XSAVE-44, XSAVE-46.
 */
export class KvmCpuCaps {
  private readonly words = new Map<string, number>()
  private readonly places = new Map<string, { word: FeatureWord; bit: number }>()
  private readonly host: HostCpu

  constructor(host: HostCpu, table: readonly FeatureWord[] = KVM_FEATURE_WORDS_6_12) {
    this.host = host
    for (const word of [...table, ...KVM_CONDITIONAL_BITS]) {
      for (const [name, bit] of Object.entries(word.bits)) if (!this.places.has(name)) this.places.set(name, { word, bit })
    }
    for (const word of table) this.words.set(word.name, (word.mask & this.hostWord(word)) >>> 0)
    this.addEmulated()
    this.addSpeculationControls()
    this.applyVendorRules()
  }

  /** The value of one word: `words.get('CPUID_7_EDX')`. 0 for a word KVM does not know. */
  word(name: string): number {
    return this.words.get(name) ?? 0
  }

  /** @param name Linux's X86_FEATURE_ name without the prefix. */
  has(name: string): boolean {
    const { word, bit } = this.place(name)
    return ((this.word(word.name) >>> bit) & 1) === 1
  }

  /** Whether the host's own CPUID shows the feature. */
  hostHas(name: string): boolean {
    const { word, bit } = this.place(name)
    return ((this.hostWord(word) >>> bit) & 1) === 1
  }

  private place(name: string): { word: FeatureWord; bit: number } {
    const place = this.places.get(name)
    if (place === undefined) throw new Error(`no row for CPUID feature ${name}`)
    return place
  }

  private hostWord(word: FeatureWord): number {
    if (!leafExists(this.host, word.leaf)) return 0
    const reg: CpuidRegister = word.reg
    return this.host.cpuid(word.leaf, word.subleaf)[reg] >>> 0
  }

  private set(name: string): void {
    const { word, bit } = this.place(name)
    this.words.set(word.name, (this.word(word.name) | (1 << bit)) >>> 0)
  }

  private clear(name: string): void {
    const { word, bit } = this.place(name)
    this.words.set(word.name, (this.word(word.name) & ~(1 << bit)) >>> 0)
  }

  private setIfHostHas(...names: string[]): void {
    for (const name of names) if (this.hostHas(name)) this.set(name)
  }

  private addEmulated(): void {
    // Emulated in software whatever the host has.
    this.set('X2APIC')
    this.set('TSC_ADJUST')
    this.set('ARCH_CAPABILITIES')
    this.set('NO_SMM_CTL_MSR')
    // PKU is not virtualized with shadow paging; the model always has two-dimensional paging, so it needs only OSPKE, which
    // Linux switches on wherever it finds PKU. XSAVE-46.
    this.setIfHostHas('SBPB', 'IBPB_BRTYPE', 'SRSO_NO', 'VERW_CLEAR', 'TSA_SQ_NO', 'TSA_L1_NO', 'TSA_FILL_NO')
    // Linux marks LFENCE as serializing on every part with SSE2.
    this.set('LFENCE_RDTSC')
    if (!this.host.isAmd || this.hostHas('NULL_SEL_CLR_BASE')) this.set('NULL_SEL_CLR_BASE')
  }

  /** Intel and AMD name the same speculation controls differently; KVM shows each under both names. */
  private addSpeculationControls(): void {
    const ibrs = this.hostHas('SPEC_CTRL') || this.hostHas('AMD_IBRS')
    const ibpb = this.hostHas('SPEC_CTRL') || this.hostHas('AMD_IBPB')
    const stibp = this.hostHas('INTEL_STIBP') || this.hostHas('AMD_STIBP')
    if (ibpb && ibrs) this.set('SPEC_CTRL')
    if (stibp) this.set('INTEL_STIBP')
    if (this.hostHas('AMD_SSBD')) this.set('SPEC_CTRL_SSBD')
    if (ibpb) this.set('AMD_IBPB')
    if (ibrs) this.set('AMD_IBRS')
    if (stibp) this.set('AMD_STIBP')
    if (this.hostHas('SPEC_CTRL_SSBD')) this.set('AMD_SSBD')
    if (this.withoutSpeculativeStoreBypass()) this.set('AMD_SSB_NO')
  }

  /** Parts Linux does not mark with the spec_store_bypass bug (arch/x86/kernel/cpu/common.c: NO_SSB rows, MSR and CPUID bit). */
  private withoutSpeculativeStoreBypass(): boolean {
    if ((this.host.archCapabilities & ARCH_CAP_SSB_NO) !== 0n || this.hostHas('AMD_SSB_NO')) return true
    return this.host.isAmd && familyOf(this.host.cpuid(1, 0).eax) <= 0x12
  }

  /** VMX, or SVM with what KVM does for a nested guest or the host's hardware helps it with. */
  private addNested(): void {
    if (!this.host.isAmd) {
      this.set('VMX')
      return
    }
    for (const name of ['SVM', 'VMCBCLEAN', 'FLUSHBYASID', 'NPT', 'SVME_ADDR_CHK']) this.set(name)
    this.setIfHostHas('NRIPS', 'V_VMSAVE_VMLOAD', 'LBRV', 'PAUSEFILTER', 'PFTHRESHOLD', 'VGIF', 'VNMI')
  }

  private applyVendorRules(): void {
    // No SGX is modelled, no vPMU (KAPI-124).
    for (const name of ['SGX', 'SGX_LC', 'SGX1', 'SGX2', 'SGX_EDECCSSA', 'PDCM', 'PERFMON_V2']) this.clear(name)
    if (this.host.nested) this.addNested()
    if (this.host.offersCet) this.setIfHostHas('SHSTK', 'IBT')
    if (this.host.isAmd) {
      this.clear('BUS_LOCK_DETECT')
      if (this.hostHas('AMD_SSBD')) this.set('VIRT_SSBD')
    } else {
      this.setIfHostHas('MPX', 'WAITPKG')
    }
  }
}

/** Display family of CPUID.1:EAX (SDM Vol. 2A, CPUID). */
function familyOf(signature: number): number {
  const family = (signature >>> 8) & 0xf
  return family === 0xf ? family + ((signature >>> 20) & 0xff) : family
}

/** False for a leaf above the maximum of its range: the processor would answer with another leaf's data. */
function leafExists(host: HostCpu, leaf: number): boolean {
  const base = (leaf & 0x80000000) >>> 0
  return leaf <= host.cpuid(base, 0).eax >>> 0
}
