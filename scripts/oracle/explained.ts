/**
 * A difference that does not count against the model: the recording machine's own limit, or a whole subject that the model leaves
 * out on purpose. The table is closed: what no row covers is a difference, and a row that covers nothing any more is reported.
 */
export interface Explanation {
  readonly recording: string
  readonly scenarios: RegExp
  /** Against `Difference.where`. */
  readonly where: RegExp
  /** The values may differ in these bits only. */
  readonly bits?: bigint
  readonly because: string
}

const HYPER_V = 'Hyper-V enlightenments are left out of the model (KAPI-134), and with them their MSRs'
const SMM = 'system-management mode is left out of the model (KAPI-134), and with it IA32_SMBASE'
/** 40000000H..400001FFH. */
const HYPER_V_MSR = '0x40000[01][0-9a-f]{2}'

/** What both recordings of 6.12 have and the model leaves out on purpose. */
const leftOut = (recording: string): Explanation[] => [
  { recording, scenarios: /^kvm\.msr\..*\.0x40000000$/, where: /^KVM_[GS]ET_MSRS\("0x40000000"/, because: HYPER_V },
  {
    recording,
    scenarios: /^kvm\.msr_lists$/,
    where: new RegExp(`^KVM_GET_MSR_INDEX_LIST\\.(n|msrs\\.${HYPER_V_MSR})$`),
    because: HYPER_V,
  },
  { recording, scenarios: /^kvm\.msr_lists$/, where: /^KVM_GET_MSR_INDEX_LIST\.msrs\.0x9e$/, because: SMM },
]

const HOST = 'linux-6.18-host'

export const EXPLANATIONS: readonly Explanation[] = [
  ...leftOut('linux-6.12-bochs-spr'),
  ...leftOut('linux-6.12-qemu-tcg'),
  {
    recording: 'linux-6.12-qemu-tcg',
    scenarios: /^guest\.(regs|misc)\./,
    where: /^(guest_xsetbv\(|guest_xgetbv\([01]\)\.rax|KVM_GET_XCRS\.value|guest_cpuid\("0xd",0\)\.rbx)/,
    because:
      'QEMU 7.2 TCG does not intercept XSETBV of an SVM guest: it writes the real XCR0 past KVM, which then knows the old one',
  },
  {
    recording: HOST,
    scenarios: /^sys\.info$/,
    where: /^note(\.note)?$/,
    because: "the machine's own build of the kernel has another name, and its KVM no parameters of kvm_amd",
  },
  {
    recording: HOST,
    scenarios: /^cpuid\.native$/,
    where: /^cpuid (0x1\.0\.ebx|0xb\.[01]\.(eax|edx)|0x4000000[01]\.0\.|0x80000008\.0\.ecx|0x8000001e\.0\.(eax|ebx))/,
    because: "leaves 40000000H on and the APIC ids are its hypervisor's, not the chip's",
  },
  {
    recording: HOST,
    scenarios: /^sigframe\./,
    where: /^signal_frame\.xgetbv1_in_handler$/,
    bits: 2n,
    because: 'a CPUID before it went to its hypervisor, which leaves SSE marked in use; without one XGETBV(1) reads 0 there too',
  },
  {
    recording: HOST,
    scenarios: /^(kvm|guest)\./,
    where: /./,
    because: "its /dev/kvm is the machine's own limited one (PVM-like, without VMX or SVM), not Linux's kvm_amd",
  },
]
