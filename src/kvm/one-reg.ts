import { E2BIG, EFAULT, EINVAL } from '../linux/errno.ts'
import { CTL } from '../machine/execution-context.ts'
import { decode, encode } from './abi/struct-layout.ts'
import { kvm_one_reg, kvm_reg_list } from './abi/structs.ts'
import { stoppedAtMsr } from './explain.ts'
import type { IoctlCall } from './ioctl-table.ts'
import { hostFailure, hostReadMsr, hostWriteMsr } from './msr/access.ts'
import { isShadowStackPointer } from './msr/cet.ts'
import { withGuestFpuForMsrs } from './msr/guest-fpu-window.ts'
import type { Vcpu } from './vcpu/vcpu.ts'

/** KVM_GET_ONE_REG, KVM_SET_ONE_REG, KVM_GET_REG_LIST: MSRs and KVM's own registers by 64-bit id. CET-17, CET-18. */

/** Upper half of an id: architecture x86, size u64; the type in its low byte. */
const X86_U64 = 0x20300000
export const KVM_X86_REG_TYPE_MSR = 2
export const KVM_X86_REG_TYPE_KVM = 3
const GUEST_SSP = 0
export const KVM_REG_GUEST_SSP = 0x2030_0003_0000_0000n

/** EINVAL, as for a number without a row. */
const notThere = (call: IoctlCall): number =>
  call.refuse(EINVAL, 'KAPI-01', 'KVM_GET_ONE_REG, KVM_SET_ONE_REG and KVM_GET_REG_LIST are not for x86 in this kernel')

/** What is wrong with an id, null if nothing is. In the order in which KVM looks. */
function idRefusal(vcpu: Vcpu, hi: number, index: number): string | null {
  if (hi >>> 28 !== X86_U64 >>> 28) return 'not a register of x86'
  if ((hi & 0x000fff00) !== 0) return 'a reserved bit is set'
  const type = hi & 0xff
  if (type !== KVM_X86_REG_TYPE_MSR && type !== KVM_X86_REG_TYPE_KVM) return `no register type ${type}`
  if (type === KVM_X86_REG_TYPE_KVM && index !== GUEST_SSP) return `KVM has no register ${index} of its own`
  if (type === KVM_X86_REG_TYPE_KVM && !vcpu.hasShadowStacks) return 'GUEST_SSP: the guest has no shadow stacks'
  return (hi & 0x0ff00000) === (X86_U64 & 0x0ff00000) ? null : 'registers have 64 bits'
}

/** Null after a refusal. */
function readRegister(vcpu: Vcpu, call: IoctlCall, type: number, index: number): bigint | null {
  if (type === KVM_X86_REG_TYPE_KVM) return vcpu.context.ctl(CTL.SSP)
  const value = hostReadMsr(vcpu, index)
  if (value === null) call.refusal = stoppedAtMsr(vcpu, index, null, hostFailure.why)
  return value
}

function writeRegister(vcpu: Vcpu, call: IoctlCall, type: number, index: number, value: bigint): boolean {
  if (type === KVM_X86_REG_TYPE_MSR) {
    if (hostWriteMsr(vcpu, index, value)) return true
    call.refusal = stoppedAtMsr(vcpu, index, value, hostFailure.why)
    return false
  }
  if (!isShadowStackPointer(vcpu, value)) {
    call.refuse(EINVAL, 'CET-18', `GUEST_SSP = 0x${value.toString(16)} is not canonical or not aligned to 4 bytes`)
    return false
  }
  vcpu.context.setCtl64(CTL.SSP, value)
  return true
}

export function oneReg(vcpu: Vcpu, call: IoctlCall, isWrite: boolean): number {
  if (!vcpu.vm.kvm.profile.kvm.hasOneReg) return notThere(call)
  const bytes = new Uint8Array(kvm_one_reg.size)
  if (!call.read(call.argument, bytes)) return call.badAddress()
  const { id, addr } = decode(kvm_one_reg, new DataView(bytes.buffer))
  const hi = Number(id >> 32n)
  const index = Number(id & 0xffffffffn)
  const refusal = idRefusal(vcpu, hi, index)
  if (refusal !== null) return call.refuse(EINVAL, 'CET-18', `register 0x${id.toString(16)}: ${refusal}`)
  const type = hi & 0xff
  return withGuestFpuForMsrs(vcpu, call.task, (window) => {
    if (type === KVM_X86_REG_TYPE_MSR) window.reaches(index)
    return isWrite ? setRegister(vcpu, call, type, index, Number(addr)) : getRegister(vcpu, call, type, index, Number(addr))
  })
}

function getRegister(vcpu: Vcpu, call: IoctlCall, type: number, index: number, addr: number): number {
  const value = readRegister(vcpu, call, type, index)
  if (value === null) return -EINVAL
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, value, true)
  return call.write(addr, bytes) ? 0 : call.refuse(EFAULT, 'CET-18', 'addr cannot be written')
}

function setRegister(vcpu: Vcpu, call: IoctlCall, type: number, index: number, addr: number): number {
  const bytes = new Uint8Array(8)
  if (!call.read(addr, bytes)) return call.refuse(EFAULT, 'CET-18', 'addr cannot be read')
  const value = new DataView(bytes.buffer).getBigUint64(0, true)
  return writeRegister(vcpu, call, type, index, value) ? 0 : -EINVAL
}

/** KVM's own registers; MSRs have lists of their own. */
export function getRegList(vcpu: Vcpu, call: IoctlCall): number {
  if (!vcpu.vm.kvm.profile.kvm.hasOneReg) return notThere(call)
  const header = new Uint8Array(kvm_reg_list.size)
  if (!call.read(call.argument, header)) return call.badAddress()
  const view = new DataView(header.buffer)
  const { n: room } = decode(kvm_reg_list, view)
  const ids = vcpu.hasShadowStacks ? [KVM_REG_GUEST_SSP] : []
  encode(kvm_reg_list, { n: BigInt(ids.length) }, view)
  if (!call.write(call.argument, header)) return call.badAddress()
  if (room < ids.length) return call.refuse(E2BIG, 'CET-18', `room for ${room} of ${ids.length} registers`)
  return call.write(call.argument + kvm_reg_list.size, new Uint8Array(BigUint64Array.from(ids).buffer)) ? 0 : call.badAddress()
}
