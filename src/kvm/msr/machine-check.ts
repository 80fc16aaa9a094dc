import { X86_CR4_MCE } from '../../isa/control-registers.ts'
import { X86_TRAP_MC } from '../../isa/vectors.ts'
import { EINVAL } from '../../linux/errno.ts'
import { CTL } from '../../machine/execution-context.ts'
import type { ValueOf } from '../abi/struct-layout.ts'
import type { kvm_x86_mce } from '../abi/structs.ts'
import type { IoctlCall } from '../ioctl-table.ts'
import { APIC_LVTCMCI } from '../irqchip/apic-registers.ts'
import { REQ_TRIPLE_FAULT, type Vcpu } from '../vcpu/vcpu.ts'

/** KVM_CAP_MCE. */
export const KVM_MAX_MCE_BANKS = 32
const MCG_CTL_P = 1n << 8n
const MCG_CMCI_P = 1n << 10n
const MCG_SER_P = 1n << 24n
const MCG_LMCE_P = 1n << 27n
const MCG_BANKCNT = 0xffn
const MCI_VAL = 1n << 63n
const MCI_OVER = 1n << 62n
const MCI_UC = 1n << 61n
const MCI_PCC = 1n << 57n
const MCI_S = 1n << 56n
const MCI_AR = 1n << 55n
const MCI_CTL2_CMCI_EN = 1n << 30n
const MCG_STATUS_MCIP = 4n
const ALL = 0xffff_ffff_ffff_ffffn

export interface MachineCheckBank {
  ctl: bigint
  status: bigint
  addr: bigint
  misc: bigint
  ctl2: bigint
}
export function newMachineCheckBanks(): MachineCheckBank[] {
  return Array.from({ length: KVM_MAX_MCE_BANKS }, () => ({ ctl: ALL, status: 0n, addr: 0n, misc: 0n, ctl2: 0n }))
}

/** KVM_X86_GET_MCE_CAP_SUPPORTED. */
export function supportedMceCap(isAmd: boolean): bigint {
  return MCG_CTL_P | MCG_SER_P | (isAmd ? 0n : MCG_LMCE_P | MCG_CMCI_P)
}

/** KVM_X86_SETUP_MCE. KAPI-121. */
export function setupMce(vcpu: Vcpu, cap: bigint, call: IoctlCall): number {
  const banks = Number(cap & MCG_BANKCNT)
  if (banks === 0 || banks > KVM_MAX_MCE_BANKS) return call.refuse(EINVAL, 'KAPI-121', `${banks} machine-check banks`)
  if (cap & ~(supportedMceCap(vcpu.vm.kvm.isAmd) | 0xff00ffn))
    return call.refuse(EINVAL, 'KAPI-121', 'a capability is not supported')
  const { msrs } = vcpu
  msrs.mcgCap = cap
  if (cap & MCG_CTL_P) msrs.mcgCtl = ALL
  for (let i = 0; i < banks; i++) {
    msrs.mcBanks[i].ctl = ALL
    msrs.mcBanks[i].ctl2 = 0n
  }
  vcpu.lapic?.setVersion()
  return 0
}

/** KVM_X86_SET_MCE: an error from user space. KAPI-122. */
export function setMce(vcpu: Vcpu, mce: ValueOf<typeof kvm_x86_mce>, call: IoctlCall): number {
  const { msrs } = vcpu
  if (mce.bank >= Number(msrs.mcgCap & MCG_BANKCNT) || !(mce.status & MCI_VAL))
    return call.refuse(EINVAL, 'KAPI-122', 'no such bank, or the error is not valid')
  const bank = msrs.mcBanks[mce.bank]
  const isUcna = (mce.status & (MCI_UC | MCI_PCC | MCI_S | MCI_AR)) === MCI_UC
  if (isUcna) return deliverUcna(vcpu, bank, mce)
  if (mce.status & MCI_UC) return deliverUncorrected(vcpu, bank, mce)
  if (bank.status & MCI_VAL && bank.status & MCI_UC) bank.status |= MCI_OVER
  else storeError(bank, mce, bank.status & MCI_VAL ? MCI_OVER : 0n)
  return 0
}

function storeError(bank: MachineCheckBank, mce: ValueOf<typeof kvm_x86_mce>, extra: bigint): void {
  bank.addr = mce.addr
  bank.misc = mce.misc
  bank.status = mce.status | extra
}

function deliverUcna(vcpu: Vcpu, bank: MachineCheckBank, mce: ValueOf<typeof kvm_x86_mce>): number {
  storeError(bank, mce, 0n)
  if (vcpu.msrs.mcgCap & MCG_CMCI_P && bank.ctl2 & MCI_CTL2_CMCI_EN) vcpu.lapic?.deliverLocal(APIC_LVTCMCI)
  return 0
}

function deliverUncorrected(vcpu: Vcpu, bank: MachineCheckBank, mce: ValueOf<typeof kvm_x86_mce>): number {
  const { msrs } = vcpu
  if ((msrs.mcgCap & MCG_CTL_P && msrs.mcgCtl !== ALL) || bank.ctl !== ALL) return 0
  if (msrs.mcgStatus & MCG_STATUS_MCIP || !(vcpu.context.ctlLo(CTL.CR4) & X86_CR4_MCE)) {
    vcpu.request(REQ_TRIPLE_FAULT)
    return 0
  }
  storeError(bank, mce, bank.status & MCI_VAL ? MCI_OVER : 0n)
  msrs.mcgStatus = mce.mcg_status
  vcpu.queueException(X86_TRAP_MC)
  return 0
}

/** A bank register: CTL, STATUS, ADDR, MISC at 0x400 + 4i, CTL2 at 0x280 + i. Null = no such register. */
export function readMce(vcpu: Vcpu, index: number): bigint | null {
  const { msrs } = vcpu
  const banks = Number(msrs.mcgCap & MCG_BANKCNT)
  if (index >= 0x280 && index < 0x280 + KVM_MAX_MCE_BANKS) {
    return index - 0x280 < banks && msrs.mcgCap & MCG_CMCI_P ? msrs.mcBanks[index - 0x280].ctl2 : null
  }
  const bank = (index - 0x400) >> 2
  if (bank >= banks) return null
  return msrs.mcBanks[bank][(['ctl', 'status', 'addr', 'misc'] as const)[index & 3]]
}

/** False = invalid. KAPI-121, KAPI-123. */
export function writeMce(vcpu: Vcpu, index: number, value: bigint, fromHost: boolean): boolean {
  const { msrs } = vcpu
  const banks = Number(msrs.mcgCap & MCG_BANKCNT)
  if (index >= 0x280 && index < 0x280 + KVM_MAX_MCE_BANKS) {
    if (index - 0x280 >= banks) return false
    if (!(msrs.mcgCap & MCG_CMCI_P) && (value !== 0n || !fromHost)) return false
    if (value & ~0x40007fffn) return false
    msrs.mcBanks[index - 0x280].ctl2 = value
    return true
  }
  const bank = (index - 0x400) >> 2
  if (bank >= banks) return false
  const register = (['ctl', 'status', 'addr', 'misc'] as const)[index & 3]
  if (register === 'ctl' && value !== 0n && (value | (1n << 10n) | 1n) !== ALL) return false
  const canSetStatus = fromHost || (msrs.hwcr & (1n << 18n)) !== 0n
  if (register === 'status' && value !== 0n && !canSetStatus) return false
  msrs.mcBanks[bank][register] = value
  return true
}
