import type { CpuModel } from '../../isa/cpu-model.ts'
import { MSR_IA32_ARCH_CAPABILITIES } from '../../isa/msr-index.ts'

/** Bits of IA32_ARCH_CAPABILITIES (SDM Vol. 4, MSR 10AH). */
const BIT = {
  RDCL_NO: 0,
  IBRS_ALL: 1,
  RSBA: 2,
  SKIP_VMENTRY_L1DFLUSH: 3,
  SSB_NO: 4,
  MDS_NO: 5,
  PSCHANGE_MC_NO: 6,
  TSX_CTRL_MSR: 7,
  TAA_NO: 8,
  SBDR_SSDP_NO: 13,
  FBSDP_NO: 14,
  PSDP_NO: 15,
  FB_CLEAR: 17,
  RRSBA: 19,
  BHI_NO: 20,
  PBRSB_NO: 24,
  GDS_NO: 26,
  RFDS_NO: 27,
  RFDS_CLEAR: 28,
  ITS_NO: 62,
} as const
type Capability = keyof typeof BIT
const mask = (name: Capability): bigint => 1n << BigInt(BIT[name])
/** What means the same in a guest: Linux 6.12 KVM_SUPPORTED_ARCH_CAP. */
const SUPPORTED = (Object.keys(BIT) as Capability[]).reduce((all, name) => all | mask(name), 0n)

/** Intel parts (family 6) that leak by GDS and by ITS: Linux 6.12 cpu_vuln_blacklist, those with a server's or client's AVX. */
const GDS_MODELS: ReadonlySet<number> = new Set([0x4e, 0x5e, 0x55, 0x8e, 0x9e, 0x6a, 0x6c, 0x7e, 0x8c, 0x8d, 0xa5, 0xa6, 0xa7])
const RFDS_MODELS: ReadonlySet<number> = new Set([0x97, 0x9a, 0xb7, 0xba, 0xbf, 0xbe, 0x86, 0x8a, 0x96, 0x9c, 0x5c, 0x5f, 0x7a])
/** Skylake-SP leaks by ITS from stepping 6 (Cascade Lake) on; Kaby Lake is left out, no model here is one. */
const isItsPart = ({ model, stepping }: CpuModel): boolean =>
  [0x6a, 0x6c, 0x7e, 0x8c, 0x8d, 0xa5, 0xa6, 0xa7].includes(model) || (model === 0x55 && stepping > 5)
/** Bit 25, GDS_CTRL: the microcode that mitigates GDS is loaded. */
const GDS_CTRL = 1n << 25n

function leaks(model: CpuModel, host: bigint, isAmd: boolean) {
  const intel6 = !isAmd && model.family === 6
  const has = (name: Capability) => (host & mask(name)) !== 0n
  return {
    meltdown: !isAmd && !has('RDCL_NO'),
    mds: !isAmd && !has('MDS_NO'),
    ssb: !has('SSB_NO') && !model.has('amd-no-ssb') && !(isAmd && model.family <= 0x12),
    gds: intel6 && GDS_MODELS.has(model.model) && !has('GDS_NO') && (host & GDS_CTRL) === 0n && model.has('avx'),
    rfds: !has('RFDS_NO') && (has('RFDS_CLEAR') || (intel6 && RFDS_MODELS.has(model.model))),
    its: !isAmd && !has('ITS_NO') && !model.has('bhi-ctrl') && (model.has('hypervisor') || isItsPart(model)),
  }
}

/**
 * IA32_ARCH_CAPABILITIES as a new vCPU and /dev/kvm show it: the host's bits that carry over, and those the host kernel knows to
 * hold. Linux 6.12 kvm_get_arch_capabilities(), with the bugs as cpu_set_bug_bits() finds them.
 */
export function guestArchCapabilities(model: CpuModel): bigint {
  const host = model.msrs.get(MSR_IA32_ARCH_CAPABILITIES) ?? 0n
  const isAmd = model.vendor === 'AuthenticAMD'
  const bug = leaks(model, host, isAmd)
  let value = host & SUPPORTED
  // nx_huge_pages makes page-size changes safe; a flush at VM entry is done or not needed.
  value |= mask('PSCHANGE_MC_NO') | mask('SKIP_VMENTRY_L1DFLUSH')
  if (!bug.meltdown) value |= mask('RDCL_NO')
  if (!bug.ssb) value |= mask('SSB_NO')
  if (!bug.mds) value |= mask('MDS_NO')
  if (!bug.gds) value |= mask('GDS_NO')
  if (!bug.rfds) value |= mask('RFDS_NO')
  if (!bug.its) value |= mask('ITS_NO')
  if (!model.has('rtm')) value &= ~mask('TAA_NO')
  else if (isAmd) value |= mask('TAA_NO')
  return value
}
