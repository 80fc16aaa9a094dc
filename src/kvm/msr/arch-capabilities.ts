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

/**
 * IA32_ARCH_CAPABILITIES as a new vCPU and /dev/kvm show it: the host's bits that carry over, and those the host kernel knows to
 * hold. Linux 6.12 kvm_get_arch_capabilities(). Intel parts are judged by their own bits; AMD parts never had the Intel bugs.
 */
export function guestArchCapabilities(model: CpuModel): bigint {
  const host = model.msrs.get(MSR_IA32_ARCH_CAPABILITIES) ?? 0n
  const isAmd = model.vendor === 'AuthenticAMD'
  let value = host & SUPPORTED
  // nx_huge_pages makes page-size changes safe; a flush at VM entry is done or not needed.
  value |= mask('PSCHANGE_MC_NO') | mask('SKIP_VMENTRY_L1DFLUSH')
  if (isAmd) for (const name of ['RDCL_NO', 'MDS_NO', 'RFDS_NO', 'GDS_NO', 'ITS_NO'] as const) value |= mask(name)
  if (model.has('amd-no-ssb')) value |= mask('SSB_NO')
  if (!model.has('rtm')) value &= ~mask('TAA_NO')
  else if (isAmd) value |= mask('TAA_NO')
  return value
}
