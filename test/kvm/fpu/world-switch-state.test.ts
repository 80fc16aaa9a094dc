import { beforeAll, describe, expect, test } from 'vitest'
import { X86_CR4_OSFXSR, X86_CR4_OSXSAVE, X86_CR4_PKE } from '../../../src/isa/control-registers.ts'
import { MSR_IA32_XFD, MSR_IA32_XFD_ERR } from '../../../src/isa/msr-index.ts'
import { ensureRegistersLoaded } from '../../../src/linux/fpu/door.ts'
import { FXREGS_SIZE, getXstate } from '../../../src/linux/fpu/regset.ts'
import { withPreemptionDisabled } from '../../../src/linux/preemption.ts'
import type { Host } from '../../../src/vmm/modelled/host.ts'
import type { ModelledProcess } from '../../../src/vmm/modelled/modelled-process.ts'
import type { ProcessMemory } from '../../../src/vmm/process-memory.ts'
import type { VcpuFd } from '../../../src/vmm/vcpu-fd.ts'
import { testHost } from '../../vmm/hosts.ts'

const HLT = 0xf4
const XMM0 = 0x400
const PKRU_OF_HOST_THREADS = 0x55555554
const XTILE_DATA = 0x40000n

/** 16-bit code. */
const movEax = (value: number): number[] => [0x66, 0xb8, ...bytes32(value)]
const movEcx = (value: number): number[] => [0x66, 0xb9, ...bytes32(value)]
const bytes32 = (value: number): number[] => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24]
const ZERO_EDX = [0x66, 0x31, 0xd2]
const MOVD_XMM0_EAX = [0x66, 0x0f, 0x6e, 0xc0]
const WRMSR = [0x0f, 0x30]
const RDMSR = [0x0f, 0x32]
const CPUID = [0x0f, 0xa2]
const RDPKRU = [...movEcx(0), 0x0f, 0x01, 0xee]
const FNINIT = [0xdb, 0xe3]
const OUT_EAX = [0x66, 0xe7, 0x80]
const writeXfd = (value: number): number[] => [...movEcx(MSR_IA32_XFD), ...movEax(value), ...ZERO_EDX, ...WRMSR]

interface Guest {
  host: Host
  vcpu: VcpuFd
  memory: ProcessMemory
}

let host: Host
beforeAll(() => {
  host = testHost()
})

/** In real mode with all of the host's CPUID, AMX too, and these CR4 bits. */
function guest(code: readonly number[], cr4 = X86_CR4_OSFXSR, on = host): Guest {
  const process = on.newProcess()
  process.archPrctl.reqXcompGuestPerm(18)
  const kvm = process.openKvm()
  const vm = kvm.createVm()
  const memory = process.allocate(0x10000)
  memory.write(0x1000, Uint8Array.from(code))
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory })
  const vcpu = vm.createVcpu()
  vcpu.setCpuid2(kvm.getSupportedCpuid())
  const sregs = vcpu.getSregs()
  vcpu.setSregs({ ...sregs, cs: { ...sregs.cs, base: 0n, selector: 0 }, cr4: BigInt(cr4) })
  vcpu.setRegs({ ...vcpu.getRegs(), rip: 0x1000n, rsp: 0x8000n, rflags: 2n })
  return { host: on, vcpu, memory }
}

/** What the modelled processors hold at each event called `name` while `vcpu` runs to its end. */
function duringRun(vcpu: VcpuFd, name: string) {
  const seen: { xcr0: number; pkru: number; xfdErr: number; xmm0: number }[] = []
  host.watch({
    event: (event) => {
      if (event.name !== name) return
      const cpu = host.kernel.cpus.find(({ current }) => current?.tid === event.tid)!
      const { processor } = cpu
      const xmm0 = host.machine.mem.i32[(processor.registerFile + XMM0) >> 2]
      const { xcr0, pkru } = host.machine.processors[cpu.id]
      seen.push({ xcr0: xcr0 >>> 0, pkru: pkru >>> 0, xfdErr: processor.readXfdErr(), xmm0 })
    },
  })
  const exit = vcpu.run()
  host.watch({ event: () => {} })
  return { seen, exit }
}

function setPkru(vcpu: VcpuFd, value: number): void {
  const image = vcpu.readXsave()
  image.xstateBv |= 1n << 9n
  new DataView(image.bytes.buffer).setUint32(2688, value, true)
  vcpu.setXsave(image)
}

describe('around each VM entry and exit', () => {
  test('XCR0 is switched with CR4.OSXSAVE and a value of its own, and not without OSXSAVE [GFPU-19]', () => {
    for (const [cr4, xcr0, switches] of [
      [X86_CR4_OSFXSR, 7n, false],
      [X86_CR4_OSFXSR | X86_CR4_OSXSAVE, 7n, true],
      [X86_CR4_OSFXSR | X86_CR4_OSXSAVE, 0x602e7n, false],
    ] as const) {
      const { vcpu } = guest([...CPUID, ...CPUID, HLT], cr4)
      vcpu.setXcr0(xcr0)
      const before = host.costs.snapshot()
      expect(vcpu.run().reason).toBe('hlt')
      const { xsetbv, worldSwitches } = host.costs.since(before)
      expect(worldSwitches).toBeGreaterThanOrEqual(3)
      expect(xsetbv).toBe(switches ? 2 * worldSwitches : 0)
    }
  })

  test("a guest without PKU runs with the host thread's PKRU, its own field stays [GFPU-18]", () => {
    const e1 = testHost({ kernel: 'linux-5.16' }) // GET of that kernel shows the field of a guest without PKU (XSAVE-34)
    const process = e1.newProcess()
    const vcpu = process.openKvm().createVm().createVcpu()
    vcpu.setCpuid2([{ function: 0xd, index: 0, flags: 1, eax: 7, ebx: 0, ecx: 0, edx: 0 }])
    setPkru(vcpu, 0x1234)
    const before = e1.costs.snapshot()
    vcpu.run({ maxInstructions: 1 })
    expect(e1.costs.since(before).wrpkru).toBe(0)
    expect(vcpu.getXsave().has(9)).toBe(true)
    expect(new DataView(vcpu.getXsave().bytes.buffer).getUint32(2688, true)).toBe(0x1234)
  })

  test("a guest with CR4.PKE finds the PKRU of its vCPU; the thread's own is back after the exit [GFPU-17, GFPU-21]", () => {
    const { vcpu } = guest([...RDPKRU, ...OUT_EAX, HLT], X86_CR4_OSFXSR | X86_CR4_PKE)
    setPkru(vcpu, 0x1234)
    expect(vcpu.run()).toMatchObject({ reason: 'io', value: 0x1234 })
    expect(host.machine.processors.some(({ pkru }) => pkru >>> 0 === 0x1234)).toBe(false)
    // Not from the image: loading an XSTATE_BV without bit 9 resets every component but this one.
    const image = vcpu.getXsave2()
    image.xstateBv = 0n
    vcpu.setXsave(image)
    vcpu.setRegs({ ...vcpu.getRegs(), rip: 0x1000n })
    expect(vcpu.run()).toMatchObject({ reason: 'io', value: 0x1234 })
  })

  test("bit 9 of a saved image is the host thread's: set after a run in which the guest's PKRU was 0 [GFPU-20, XSAVE-11]", () => {
    const { vcpu } = guest([HLT], X86_CR4_OSFXSR | X86_CR4_PKE)
    expect(vcpu.getXsave2().has(9)).toBe(false)
    vcpu.run()
    expect(vcpu.getXsave2().has(9)).toBe(true)
    expect([...vcpu.getXsave2().component(9)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
  })

  test("what the host uses is its own again when the exit is handled, vector registers are still the guest's [GFPU-11, GFPU-21]", () => {
    const cr4 = X86_CR4_OSFXSR | X86_CR4_OSXSAVE | X86_CR4_PKE
    const { vcpu } = guest([...movEax(0xabcd), ...MOVD_XMM0_EAX, ...writeXfd(0x40000), HLT], cr4)
    vcpu.setXcr0(7n)
    setPkru(vcpu, 0x1234)
    const { seen } = duringRun(vcpu, 'kvm_xfd_write')
    expect(seen).toEqual([{ xcr0: 0x602e7, pkru: PKRU_OF_HOST_THREADS, xfdErr: 0, xmm0: 0xabcd }])
    const registers = host.machine.processors.map(({ registerFile }) => host.machine.mem.i32[(registerFile + XMM0) >> 2])
    expect(registers).not.toContain(0xabcd)
    expect(new DataView(vcpu.getXsave2().bytes.buffer).getUint32(160, true)).toBe(0xabcd)
  })
})

describe('IA32_XFD and IA32_XFD_ERR', () => {
  test('XFD exits until the first non-zero write, then no more [GFPU-28]', () => {
    const { vcpu } = guest([...writeXfd(0), ...writeXfd(0), ...writeXfd(0x40000), ...writeXfd(0), ...writeXfd(0x40000), HLT])
    expect(duringRun(vcpu, 'kvm_xfd_write').seen).toHaveLength(3)
  })

  test('a non-zero write by the host ends interception too [GFPU-28]', () => {
    const { vcpu } = guest([...writeXfd(0), HLT])
    vcpu.writeMsr(MSR_IA32_XFD, XTILE_DATA)
    expect(duringRun(vcpu, 'kvm_xfd_write').seen).toHaveLength(0)
    expect(vcpu.readMsr(MSR_IA32_XFD)).toBe(0n)
  })

  test('what the guest wrote without an exit is what the host reads after it [GFPU-27, GFPU-29]', () => {
    const { vcpu } = guest([...writeXfd(0x40000), ...writeXfd(0), HLT, ...writeXfd(0x40000), HLT])
    vcpu.run()
    expect(vcpu.readMsr(MSR_IA32_XFD)).toBe(0n)
    vcpu.run()
    expect(vcpu.readMsr(MSR_IA32_XFD)).toBe(XTILE_DATA)
  })

  test('#NM is intercepted once XFD is not, takes IA32_XFD_ERR into the vCPU and is delivered [GFPU-28, GFPU-30]', () => {
    // At 0x40 the handler of vector 7: clts; iret. CR0.TS makes FNINIT raise it.
    const code = [...FNINIT, HLT, ...writeXfd(0x40000), ...movEax(0x18), 0x0f, 0x22, 0xc0, ...FNINIT, HLT]
    const { vcpu, memory } = guest(code)
    memory.write(0x40, Uint8Array.of(0x0f, 0x06, 0xcf))
    memory.write(7 * 4, Uint8Array.of(0x40, 0, 0, 0))
    vcpu.setSregs({ ...vcpu.getSregs(), cr0: 0x18n })
    expect(duringRun(vcpu, 'kvm_nm')).toEqual({ seen: [], exit: { reason: 'hlt' } })
    expect(vcpu.getSregs().cr0 & 8n).toBe(0n)
    const second = duringRun(vcpu, 'kvm_nm')
    expect(second.exit).toEqual({ reason: 'hlt' })
    expect(second.seen).toHaveLength(1)
    // The register held no error: CR0.TS raised it.
    expect(vcpu.readMsr(MSR_IA32_XFD_ERR)).toBe(0n)
  })

  test("IA32_XFD_ERR is the guest's only while it runs, and lasts over a run that leaves it alone [GFPU-31]", () => {
    const { vcpu } = guest([...movEcx(MSR_IA32_XFD_ERR), ...RDMSR, ...OUT_EAX, ...writeXfd(0x40000), HLT])
    vcpu.writeMsr(MSR_IA32_XFD_ERR, XTILE_DATA)
    expect(vcpu.run()).toMatchObject({ reason: 'io', value: 0x40000 })
    const { seen } = duringRun(vcpu, 'kvm_xfd_write')
    expect(seen.map(({ xfdErr }) => xfdErr)).toEqual([0])
    expect(vcpu.readMsr(MSR_IA32_XFD_ERR)).toBe(XTILE_DATA)
  })
})

describe('the thread that runs a vCPU', () => {
  test('shows ptrace its own registers after KVM_RUN, whatever the guest had in them [GFPU-15]', () => {
    // mov $0x7777, %eax; movd %eax, %xmm0; jmp .
    const { vcpu } = guest([...movEax(0x7777), ...MOVD_XMM0_EAX, 0xeb, 0xfe])
    const task = host.kernel.tasks.get((vcpu.vm.kvm.process.backend as ModelledProcess).pid)!
    vcpu.getRegs()
    withPreemptionDisabled(task, ensureRegistersLoaded)
    host.machine.mem.i32[(task.cpu!.processor.registerFile + XMM0) >> 2] = 0x2222
    expect(vcpu.run({ maxInstructions: 1000 }).reason).toBe('interrupted')
    expect(new DataView(vcpu.getXsave2().bytes.buffer).getUint32(160, true)).toBe(0x7777)
    // A stopped thread has lost its processor.
    if (task.cpu !== null) host.kernel.scheduler.leave(task.cpu, task)
    const own = new Uint8Array(host.kernel.xstate.userMaxSize)
    getXstate(task, own)
    expect(new DataView(own.buffer).getUint32(160, true)).toBe(0x2222)
    expect(own.length).toBeGreaterThan(FXREGS_SIZE)
  })
})
