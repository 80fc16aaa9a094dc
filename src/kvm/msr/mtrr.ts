import * as M from '../../isa/msr-index.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'

/** Variable ranges KVM gives a guest; write combining and fixed ranges exist. Linux 6.12 arch/x86/kvm/mtrr.c. */
const VARIABLE_RANGES = 8
const MTRR_CAP = 0x500n | BigInt(VARIABLE_RANGES)

/** UC, WC, WT, WP, WB. */
const isMtrrType = (type: bigint): boolean => type < 8n && ((0x73n >> type) & 1n) === 1n

/** Place of a fixed-range register: 64K, 16K twice, 4K eight times. -1 if it is none. */
function fixedIndex(index: number): number {
  if (index === M.MSR_MTRRfix64K_00000) return 0
  if (index === M.MSR_MTRRfix16K_80000 || index === M.MSR_MTRRfix16K_A0000) return 1 + index - M.MSR_MTRRfix16K_80000
  return index >= M.MSR_MTRRfix4K_C0000 && index < M.MSR_MTRRfix4K_C0000 + 8 ? 3 + index - M.MSR_MTRRfix4K_C0000 : -1
}
const isVariable = (index: number): boolean => index >= M.MSR_MTRRphysBase0 && index < M.MSR_MTRRphysBase0 + VARIABLE_RANGES * 2

/** Null = no such register. */
export function readMtrr(vcpu: Vcpu, index: number): bigint | null {
  const { msrs } = vcpu
  if (index === M.MSR_MTRRcap) return MTRR_CAP
  if (index === M.MSR_MTRRdefType) return msrs.mtrrDefType
  if (isVariable(index)) return msrs.mtrrVariable[index - M.MSR_MTRRphysBase0]
  const fixed = fixedIndex(index)
  return fixed < 0 ? null : msrs.mtrrFixed[fixed]
}

/** False = no such register, or a bad type, reserved bit or address. */
export function writeMtrr(vcpu: Vcpu, index: number, value: bigint): boolean {
  const { msrs } = vcpu
  if (index === M.MSR_MTRRdefType) {
    if (value & ~0xcffn || !isMtrrType(value & 0xffn)) return false
    msrs.mtrrDefType = value
    return true
  }
  const fixed = fixedIndex(index)
  if (fixed >= 0) {
    for (let i = 0n; i < 64n; i += 8n) if (!isMtrrType((value >> i) & 0xffn)) return false
    msrs.mtrrFixed[fixed] = value
    return true
  }
  if (!isVariable(index)) return false
  const isBase = (index & 1) === 0
  if (value >> BigInt(vcpu.maxPhysAddr) !== 0n || value & (isBase ? 0xf00n : 0x7ffn)) return false
  if (isBase && !isMtrrType(value & 0xffn)) return false
  msrs.mtrrVariable[index - M.MSR_MTRRphysBase0] = value
  return true
}
