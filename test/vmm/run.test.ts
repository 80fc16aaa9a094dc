import { describe, expect, it } from 'vitest'
import { ProcessDied } from '../../src/vmm/errors.ts'
import type { IoExit, MmioExit, VcpuExit } from '../../src/vmm/exits.ts'
import { amxVcpu, realModeVcpu, testHost } from './hosts.ts'

const HLT = 0xf4
const JMP_SELF = [0xeb, 0xfe]
const MSR_IA32_XFD = 0x1c4
const XTILE_DATA = 18n

function io(exit: VcpuExit): IoExit {
  if (exit.reason !== 'io') throw new Error(`not an io exit: ${exit.reason}`)
  return exit
}
function mmio(exit: VcpuExit): MmioExit {
  if (exit.reason !== 'mmio') throw new Error(`not an mmio exit: ${exit.reason}`)
  return exit
}

/** With in-kernel interrupt controller: sti; hlt; out %al, $0x80. Interrupt 0x20 has a handler. */
function sleeping() {
  const process = testHost().newProcess()
  const vm = process.openKvm().createVm()
  vm.createIrqchip()
  const memory = process.allocate(0x10000)
  // sti; hlt; out %al, $0x80; at 0x40 the handler of vector 0x20: iret
  memory.write(0, Uint8Array.of(0xfb, HLT, 0xe6, 0x80))
  memory.write(0x40, Uint8Array.of(0xcf))
  memory.write(0x20 * 4, Uint8Array.of(0x40, 0, 0, 0))
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory })
  const vcpu = vm.createVcpu()
  vcpu.setCpuid2(vm.kvm.getSupportedCpuid())
  const sregs = vcpu.getSregs()
  vcpu.setSregs({ ...sregs, cs: { ...sregs.cs, base: 0n, selector: 0 } })
  vcpu.setRegs({ ...vcpu.getRegs(), rip: 0n, rsp: 0x8000n })
  return { vm, vcpu }
}

describe('exits', () => {
  it('OUT: port, size and value; RIP moves when the guest goes on [KAPI-32]', () => {
    // mov $0x12345678, %eax; mov $0x501, %dx; out %eax, %dx; hlt
    const { vcpu } = realModeVcpu([0x66, 0xb8, 0x78, 0x56, 0x34, 0x12, 0xba, 0x01, 0x05, 0x66, 0xef, HLT])
    const exit = io(vcpu.run())
    expect(exit).toMatchObject({ direction: 'out', port: 0x501, size: 4, count: 1, value: 0x12345678 })
    expect(vcpu.getRegs().rip).toBe(9n)
    expect(vcpu.completeExit()).toEqual({ reason: 'interrupted', because: 'signal' })
    expect(vcpu.getRegs().rip).toBe(11n)
    expect(vcpu.run()).toEqual({ reason: 'hlt' })
    expect(vcpu.getRegs().rip).toBe(12n)
  })

  it('IN: what the VMM puts there, in the low bits of RAX [KAPI-33]', () => {
    // mov $0x1122, %ax; in $0x80, %al; hlt
    const { vcpu } = realModeVcpu([0xb8, 0x22, 0x11, 0xe4, 0x80, HLT])
    const exit = io(vcpu.run())
    expect(exit).toMatchObject({ direction: 'in', port: 0x80, size: 1, value: 0 })
    exit.value = 0xab
    expect(vcpu.run()).toEqual({ reason: 'hlt' })
    expect(vcpu.getRegs().rax & 0xffffn).toBe(0x11abn)
  })

  it('REP OUTS: an exit for each item [KAPI-35]', () => {
    // mov $3, %cx; mov $0x20, %si; mov $0xe9, %dx; rep outsb; hlt; at 0x20: "abc"
    const { vcpu, memory } = realModeVcpu([0xb9, 3, 0, 0xbe, 0x20, 0, 0xba, 0xe9, 0, 0xf3, 0x6e, HLT])
    memory.write(0x20, new TextEncoder().encode('abc'))
    let text = ''
    for (let exit = vcpu.run(); exit.reason === 'io'; exit = vcpu.run()) text += String.fromCharCode(...exit.data)
    expect(text).toBe('abc')
  })

  it('memory that no slot backs: address, bytes, answers [KAPI-36, KAPI-37]', () => {
    // mov $0x2000, %ax; mov %ax, %ds; mov (0x10), %bx; mov %bx, (0x20); hlt
    const { vcpu } = realModeVcpu([0xb8, 0x00, 0x20, 0x8e, 0xd8, 0x8b, 0x1e, 0x10, 0x00, 0x89, 0x1e, 0x20, 0x00, HLT])
    const read = mmio(vcpu.run())
    expect(read).toMatchObject({ physAddr: 0x20010n, length: 2, isWrite: false })
    read.data.set([0x34, 0x12])
    const write = mmio(vcpu.run())
    expect(write).toMatchObject({ physAddr: 0x20020n, length: 2, isWrite: true })
    expect([...write.data]).toEqual([0x34, 0x12])
    expect(vcpu.run()).toEqual({ reason: 'hlt' })
    expect(vcpu.getRegs().rbx & 0xffffn).toBe(0x1234n)
  })

  it('a triple fault is a shutdown, and the vCPU can be used again [KAPI-28]', () => {
    // lidt (0x20) with limit 0; int3
    const { vcpu } = realModeVcpu([0x0f, 0x01, 0x1e, 0x20, 0x00, 0xcc])
    expect(vcpu.run()).toEqual({ reason: 'shutdown' })
    vcpu.setSregs({ ...vcpu.getSregs(), idt: { base: 0n, limit: 0x3ff } })
    vcpu.setRegs({ ...vcpu.getRegs(), rip: 0x100n })
    expect(vcpu.run({ maxInstructions: 10 }).reason).toBe('interrupted')
  })
})

describe('an exception of the guest', () => {
  it('may push its frame onto the page whose code runs', () => {
    // mov $16, %cx; 1: mov $0x20, %sp; int3; dec %cx; jnz 1b; hlt; the handler at 0x40: iret. The stack lies between them.
    const code = [0xb9, 0x10, 0x00, 0xbc, 0x20, 0x00, 0xcc, 0x49, 0x75, 0xf9, HLT]
    const { vcpu, memory } = realModeVcpu(code)
    memory.write(0x40, Uint8Array.of(0xcf))
    // The vector table lies elsewhere, so that the code can be at 0.
    memory.write(0x200c, Uint8Array.of(0x40, 0, 0, 0))
    vcpu.setSregs({ ...vcpu.getSregs(), idt: { base: 0x2000n, limit: 0x3ff } })
    expect(vcpu.run()).toEqual({ reason: 'hlt' })
    expect([...memory.bytes(0x1a, 6)]).toEqual([7, 0, 0, 0, 2, 0])
  })
})

describe('run with a limit', () => {
  it('stops after exactly so many instructions, and goes on where it stopped', () => {
    // 1: inc %bx; jmp 1b
    const { vcpu } = realModeVcpu([0x43, 0xeb, 0xfd])
    expect(vcpu.run({ maxInstructions: 1001 })).toEqual({ reason: 'interrupted', because: 'limit' })
    expect(vcpu.getRegs()).toMatchObject({ rbx: 501n, rip: 1n })
    expect(vcpu.run({ maxInstructions: 1 })).toEqual({ reason: 'interrupted', because: 'limit' })
    expect(vcpu.getRegs()).toMatchObject({ rbx: 501n, rip: 0n })
    expect(vcpu.run({ maxInstructions: 300_000 })).toEqual({ reason: 'interrupted', because: 'limit' })
    expect(vcpu.getRegs()).toMatchObject({ rbx: (501n + 150_000n) & 0xffffn, rip: 0n })
  })

  it('counts the instructions of each run', () => {
    const host = testHost()
    const { vcpu } = realModeVcpu([...JMP_SELF], host)
    vcpu.run({ maxInstructions: 12345 })
    expect(vcpu.vm.kvm.process.backend.retired).toBe(12345)
  })

  it('ends with the exit when that comes first', () => {
    const { vcpu } = realModeVcpu([0x90, 0x90, 0xe6, 0x80, HLT])
    expect(vcpu.run({ maxInstructions: 1000 }).reason).toBe('io')
    expect(vcpu.run({ maxInstructions: 1000 }).reason).toBe('hlt')
  })
})

describe('a vCPU that sleeps in KVM_RUN', () => {
  it('comes back when nothing can ever wake it', () => {
    const { vcpu } = sleeping()
    expect(vcpu.run()).toEqual({ reason: 'interrupted', because: 'idle' })
    expect(vcpu.getRegs().rip).toBe(2n)
    expect(vcpu.getMpState()).toBe(3)
  })

  it('goes on after an interrupt [KAPI-29]', () => {
    const { vcpu, vm } = sleeping()
    vcpu.run()
    vm.signalMsi({ address_lo: 0xfee00000, data: 0x20 })
    // The LAPIC is software-disabled after reset: spurious vector register, bit 8 (SDM Vol. 3A 11.9).
    const regs = vcpu.getLapic()
    regs[0xf1] |= 1
    vcpu.setLapic(regs)
    vm.signalMsi({ address_lo: 0xfee00000, data: 0x20 })
    expect(io(vcpu.run())).toMatchObject({ direction: 'out', port: 0x80 })
  })
})

describe('a vCPU that sleeps until its timer is due', () => {
  it('lets virtual time pass, not instructions [KAPI-29, KAPI-65]', () => {
    const { vcpu, vm } = sleeping()
    const lapic = vcpu.getLapic()
    const set = (register: number, value: number) => new DataView(lapic.buffer).setUint32(register, value, true)
    set(0xf0, 0x1ff) // SPIV: enabled
    set(0x320, 0x20) // LVTT: one-shot, vector 0x20
    set(0x3e0, 0xb) // TDCR: divide by 1
    set(0x380, 5_000_000) // TMICT: 5 ms at 1 GHz
    set(0x390, 5_000_000) // TMCCT
    const before = vm.getClock().clock
    vcpu.setLapic(lapic)
    expect(io(vcpu.run())).toMatchObject({ direction: 'out', port: 0x80 })
    expect(Number(vm.getClock().clock - before)).toBeGreaterThanOrEqual(5_000_000)
    expect(vcpu.vm.kvm.process.backend.retired).toBeLessThan(10)
  })
})

describe('an image that IA32_XFD withholds', () => {
  it('kills the calling task on linux-6.12, not the program that runs the model [GFPU-53]', () => {
    const host = testHost()
    const vcpu = amxVcpu(host)
    const image = vcpu.getXsave2()
    image.xstateBv |= 1n << XTILE_DATA
    vcpu.setXsave(image)
    vcpu.writeMsr(MSR_IA32_XFD, 1n << XTILE_DATA)
    expect(() => vcpu.run()).toThrow(ProcessDied)
    expect(() => vcpu.run()).toThrow(/kernel oops: unexpected #NM/)
    expect(host.kernel.log.lines.join('\n')).toMatch(/unexpected #NM exception/)
    expect(host.newProcess().openKvm().getApiVersion()).toBe(12)
  })
})
