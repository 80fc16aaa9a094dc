import { ProcessDied } from '../vmm/errors.ts'
import type { KvmRegs, VcpuFd } from '../vmm/vcpu-fd.ts'

const GENERAL = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const
const hex16 = (value: bigint): string => value.toString(16).padStart(16, '0')
const hex = (value: bigint): string => value.toString(16)

/** Where a vCPU stands: its registers, for people. */
export function describeVcpu(vcpu: VcpuFd): string {
  try {
    const regs = vcpu.getRegs()
    const s = vcpu.getSregs()
    const lines = [`  vcpu ${vcpu.id}: rip ${hex16(regs.rip)} rflags ${hex(regs.rflags)} cpl ${s.ss.dpl}`]
    for (let r = 0; r < 16; r += 4) lines.push(`    ${generalRow(regs, r)}`)
    lines.push(`    cr0 ${hex(s.cr0)} cr2 ${hex(s.cr2)} cr3 ${hex(s.cr3)} cr4 ${hex(s.cr4)} efer ${hex(s.efer)}`)
    const xcr0 = vcpu.getXcr0()
    if (xcr0 !== null) lines.push(`    xcr0 ${hex(xcr0)} xsave: ${vcpu.readXsave().presentNames || 'all initial'}`)
    return `${lines.join('\n')}\n`
  } catch (error) {
    if (error instanceof ProcessDied) return `  ${error.message}\n`
    throw error
  }
}

function generalRow(regs: KvmRegs, first: number): string {
  return GENERAL.slice(first, first + 4)
    .map((name) => `${name.padEnd(3)} ${hex16(regs[name])}`)
    .join('  ')
}
