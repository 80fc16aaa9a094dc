import { describe, expect, test } from 'vitest'
import { MSR_TEST_CTRL } from '../../../src/isa/msr-index.ts'
import { CODE, LOAD, LOCK_INC, OUT_DONE, outcome, type Ring, splitLockGuest } from './rings.ts'

const SLD = 1n << 29n
const ring0: Ring = { cpl: 0, alignmentCheck: false }
const ring3: Ring = { cpl: 3, alignmentCheck: false }
const ring3Checked: Ring = { cpl: 3, alignmentCheck: true }
const LOCK = [...LOCK_INC, ...OUT_DONE]

describe('a split lock of a guest under linux-6.12', () => {
  test('warn: the vCPU thread sleeps at least 10 ms before its guest goes on [SLD-19, SLD-32]', () => {
    const guest = splitLockGuest(LOCK, ring0)
    const before = guest.host.kernel.clock.now
    outcome(guest)
    expect(guest.host.kernel.clock.now - before).toBeGreaterThanOrEqual(10e6)
  })

  test('fatal: KVM_EXIT_EXCEPTION with #AC(0), RIP at the lock; KVM_RUN again is the same again; one line a boot [SLD-T6, SLD-33, SLD-35]', () => {
    const guest = splitLockGuest(LOCK, ring0, { splitLockDetect: 'fatal' })
    for (let i = 0; i < 2; i++) {
      expect(outcome(guest)).toBe('SIGBUS')
      expect(guest.vcpu.getRegs().rip).toBe(BigInt(CODE))
      expect(guest.vcpu.getVcpuEvents().exception_injected).toBe(0)
      expect(guest.vcpu.vm.kvm.process.takeSignals()).toEqual([{ signal: 7, code: 1, address: 0 }])
    }
    expect(guest.host.kernel.log.lines.filter((line) => line.includes('fatal split_lock trap'))).toHaveLength(1)
  })

  test("a misaligned load with the guest's alignment check on is #AC(0), in every mode [SLD-T8, SLD-03]", () => {
    for (const splitLockDetect of ['off', 'warn', 'fatal'])
      expect(outcome(splitLockGuest([...LOAD, ...OUT_DONE], ring3Checked, { splitLockDetect }))).toBe('#AC')
    expect(outcome(splitLockGuest([...LOAD, ...OUT_DONE], ring3, { splitLockDetect: 'fatal' }))).toBe('runs')
  })

  test('CPUID.(7,0):EDX[30] may be set, and changes nothing: the registers stay away [SLD-37]', () => {
    // mov $0xcf, %ecx; rdmsr; out %al, $0x80
    const { vcpu } = splitLockGuest([0xb9, 0xcf, 0, 0, 0, 0x0f, 0x32, ...OUT_DONE], ring0)
    const { kvm } = vcpu.vm
    const cpuid = kvm.getSupportedCpuid()
    vcpu.setCpuid2(cpuid.map((e) => (e.function === 7 && e.index === 0 ? { ...e, edx: (e.edx | (1 << 30)) >>> 0 } : e)))
    expect(vcpu.getCpuid2().find((e) => e.function === 7 && e.index === 0)!.edx & (1 << 30)).not.toBe(0)
    for (const index of [0x33, 0xcf]) expect(() => vcpu.readMsr(index)).toThrow(/0 done/)
    expect(vcpu.run()).toEqual({ reason: 'shutdown' })
  })

  test('the accessed bit of a descriptor that lies across lines is set, and no split lock [SLD-05]', () => {
    // mov $0x10, %eax; mov %eax, %ds; out %al, $0x80
    const guest = splitLockGuest([0xb8, 0x10, 0, 0, 0, 0x8e, 0xd8, ...OUT_DONE], ring0, { splitLockDetect: 'fatal' })
    const { vcpu, memory } = guest
    // Descriptor 2 at 0xa03c, four bytes on each side: data, not accessed yet.
    const gdt = 0xa02c
    memory.write(gdt + 0x10, Uint8Array.of(0xff, 0xff, 0, 0, 0, 0x92, 0xcf, 0))
    vcpu.setSregs({ ...vcpu.getSregs(), gdt: { base: BigInt(gdt), limit: 0x17 } })
    expect(outcome(guest)).toBe('runs')
    expect(memory.bytes(gdt + 0x15, 1)[0]).toBe(0x93)
  })

  test('kvm_amd re-injects every #AC [SLD-38]', () => {
    expect(outcome(splitLockGuest(LOCK, ring3Checked, { cpu: 'EPYC-Genoa' }))).toBe('#AC')
    expect(outcome(splitLockGuest(LOCK, ring0, { cpu: 'EPYC-Genoa' }))).toBe('runs')
  })

  test('MSR_TEST_CTRL and MSR_IA32_CORE_CAPS are not there: no list, no access, #GP [SLD-T9, SLD-36, SLD-66]', () => {
    // mov $0x33, %ecx; rdmsr; out %al, $0x80
    const { vcpu } = splitLockGuest([0xb9, 0x33, 0, 0, 0, 0x0f, 0x32, ...OUT_DONE], ring0)
    const { kvm } = vcpu.vm
    for (const index of [0x33, 0xcf]) {
      expect(kvm.getMsrIndexList()).not.toContain(index)
      expect(() => vcpu.readMsr(index)).toThrow(/0 done/)
      expect(() => vcpu.writeMsr(index, 0n)).toThrow(/0 done/)
    }
    expect(kvm.getSupportedCpuid().find((e) => e.function === 7 && e.index === 0)!.edx & (1 << 30)).toBe(0)
    // #GP without a handler: a triple fault.
    expect(vcpu.run()).toEqual({ reason: 'shutdown' })
  })
})

describe('proposal v8', () => {
  const kernel = 'proposal:sld-virt-v8'
  const register = (guest: ReturnType<typeof splitLockGuest>, cpu = 0) =>
    guest.host.kernel.cpus[cpu].processor.rdmsr(MSR_TEST_CTRL) & SLD
  const flag = (guest: ReturnType<typeof splitLockGuest>) =>
    [...guest.host.kernel.tasks.values()].some((task) => task.splitLockAllowed)
  const withMsrs = (mode: string, ring: Ring, feature: boolean, detects: boolean, profile = kernel) => {
    const guest = splitLockGuest(LOCK, ring, { kernel: profile, splitLockDetect: mode })
    if (!feature) guest.vcpu.writeMsr(0xcf, 0n)
    if (detects) guest.vcpu.writeMsr(0x33, SLD)
    return guest
  }

  test("register and flag are the thread's own again after KVM_RUN [SLD-T10, SLD-53, SLD-57]", () => {
    for (const detects of [true, false]) {
      const guest = withMsrs('warn', ring0, true, detects)
      outcome(guest)
      expect([register(guest), flag(guest)]).toEqual([SLD, false])
    }
  })
  test('a guest without the feature that is warned leaves its thread without detection for good [SLD-59]', () => {
    const guest = withMsrs('warn', ring0, false, false)
    outcome(guest)
    expect(flag(guest)).toBe(true)
  })
  test('fatal: the guest writes 0 and reads it back, the register stays [SLD-T12, SLD-45]', () => {
    // mov $0x33, %ecx; xor %eax, %eax; xor %edx, %edx; wrmsr; rdmsr; out %al, $0x80
    const code = [0xb9, 0x33, 0, 0, 0, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30, 0x0f, 0x32, ...OUT_DONE]
    const guest = splitLockGuest(code, ring0, { kernel, splitLockDetect: 'fatal' })
    guest.vcpu.writeMsr(0x33, SLD)
    expect(outcome(guest)).toBe('runs')
    expect(guest.vcpu.readMsr(0x33)).toBe(0n)
    expect(register(guest)).toBe(SLD)
  })
  test('what a guest writes while it runs is in the register at its next instruction [SLD-45, SLD-60]', () => {
    // mov $0x33, %ecx; mov $0x20000000, %eax; xor %edx, %edx; wrmsr; lock incl; out
    const code = [0xb9, 0x33, 0, 0, 0, 0xb8, 0, 0, 0, 0x20, 0x31, 0xd2, 0x0f, 0x30, ...LOCK]
    expect(outcome(splitLockGuest(code, ring0, { kernel }))).toBe('#AC')
  })
  test('a host write is stored, checked like a guest’s, and reaches no register [SLD-T14, SLD-45, SLD-60]', () => {
    const guest = withMsrs('warn', ring0, true, true)
    expect([register(guest), flag(guest), guest.vcpu.readMsr(0x33)]).toEqual([SLD, false, SLD])
    expect(() => guest.vcpu.writeMsr(0x33, 1n)).toThrow(/0 done/)
    const without = withMsrs('warn', ring0, false, false)
    expect(() => without.vcpu.writeMsr(0x33, SLD)).toThrow(/0 done/)
    expect(() => without.vcpu.writeMsr(0xcf, 0x60n)).toThrow(/0 done/)
  })
  test('lists: 0x33 to save, 0xCF as feature and emulated MSR; CPUID.(7,0):EDX[30] [SLD-44, SLD-62]', () => {
    const { kvm } = withMsrs('warn', ring0, true, false).vcpu.vm
    expect(kvm.getMsrIndexList()).toEqual(expect.arrayContaining([0x33, 0xcf]))
    expect(kvm.getMsrIndexList().indexOf(0x33)).toBeLessThan(kvm.getMsrIndexList().indexOf(0xcf))
    expect(kvm.getMsrFeatureIndexList()).toContain(0xcf)
    expect(kvm.getSupportedCpuid().find((e) => e.function === 7 && e.index === 0)!.edx & (1 << 30)).not.toBe(0)
  })
  test('MSR_IA32_CORE_CAPS: RDMSR of a guest needs the CPUID bit, WRMSR is #GP [SLD-44]', () => {
    const leaf7 = (e: { function: number; index: number }) => e.function === 7 && e.index === 0
    const [read, write] = [
      [0xb9, 0xcf, 0, 0, 0, 0x0f, 0x32, ...OUT_DONE],
      [0xb9, 0xcf, 0, 0, 0, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30, ...OUT_DONE],
    ]
    const allowed = splitLockGuest(read, ring0, { kernel })
    expect(outcome(allowed)).toBe('runs')
    expect(allowed.vcpu.getRegs().rax).toBe(0x20n)
    const { vcpu } = splitLockGuest(read, ring0, { kernel })
    const cpuid = vcpu.vm.kvm.getSupportedCpuid()
    vcpu.setCpuid2(cpuid.map((e) => (leaf7(e) ? { ...e, edx: (e.edx & ~(1 << 30)) >>> 0 } : e)))
    // #GP without a handler: a triple fault.
    expect(vcpu.run()).toEqual({ reason: 'shutdown' })
    expect(splitLockGuest(write, ring0, { kernel }).vcpu.run()).toEqual({ reason: 'shutdown' })
  })
  test("fatal: outside ring 3 and without the guest's alignment check it is killed; with it, #AC, for a plain misaligned load too [SLD-49]", () => {
    const inRing = (code: readonly number[], ring: Ring) =>
      outcome(splitLockGuest([...code, ...OUT_DONE], ring, { kernel, splitLockDetect: 'fatal' }))
    expect([inRing(LOCK_INC, ring0), inRing(LOCK_INC, ring3)]).toEqual(['SIGBUS', 'SIGBUS'])
    expect([inRing(LOCK_INC, ring3Checked), inRing(LOAD, ring3Checked)]).toEqual(['#AC', '#AC'])
  })
  test('on a host with two threads a core it is not offered, and a migration with it refused; v10 offers it if the host is fatal [SLD-44, SLD-52, SLD-63]', () => {
    const offered = (profile: string, splitLockDetect: string) => {
      const { vcpu } = splitLockGuest(LOCK, ring0, { kernel: profile, splitLockDetect, threadsPerCore: 2 })
      const capabilities = vcpu.readMsr(0xcf)
      if (capabilities === 0n) expect(() => vcpu.writeMsr(0xcf, 0x20n)).toThrow(/0 done/)
      return [capabilities, vcpu.vm.kvm.getMsrIndexList().includes(0x33)]
    }
    for (const mode of ['warn', 'fatal']) expect(offered(kernel, mode)).toEqual([0n, false])
    expect(offered('proposal:sld-virt-v10', 'warn')).toEqual([0n, false])
    expect(offered('proposal:sld-virt-v10', 'fatal')).toEqual([0x20n, true])
  })
  test('a target without detection refuses MSR_IA32_CORE_CAPS[5], and then MSR_TEST_CTRL [SLD-63]', () => {
    const { vcpu } = splitLockGuest(LOCK, ring0, { kernel, cpu: 'Skylake-Server' })
    expect(() => vcpu.writeMsr(0xcf, 0x20n)).toThrow(/0 done/)
    expect(() => vcpu.writeMsr(0x33, SLD)).toThrow(/0 done/)
    expect(vcpu.readMsr(0x33)).toBe(0n)
  })
  test('withdrawing the capability leaves the control set in v8, and clears it in the corrected variant [SLD-64]', () => {
    const after = (profile: string) => {
      const guest = withMsrs('warn', ring0, true, true, profile)
      guest.vcpu.writeMsr(0xcf, 0n)
      return guest.vcpu.readMsr(0x33)
    }
    expect([after(kernel), after('proposal:sld-virt-v8-fixed')]).toEqual([SLD, 0n])
  })
  test('v10 tells the guest by hints in the KVM leaves [SLD-50, SLD-52]', () => {
    const leaf = (profile: string, splitLockDetect: string) => {
      const { vcpu } = splitLockGuest(LOCK, ring0, { kernel: profile, splitLockDetect })
      const { eax, edx } = vcpu.vm.kvm.getSupportedCpuid().find((e) => e.function === 0x40000001)!
      return [(eax >>> 15) & 1, (edx >>> 1) & 1]
    }
    expect(leaf('proposal:sld-virt-v8', 'warn')).toEqual([0, 0])
    expect(leaf('proposal:sld-virt-v10', 'warn')).toEqual([1, 0])
    expect(leaf('proposal:sld-virt-v10', 'fatal')).toEqual([1, 1])
  })
})

describe('an emulated instruction', () => {
  test('a locked operand across lines is written plainly, detection or not: no #AC, and a line says so once [SLD-T15, SLD-46]', () => {
    // lock xadd %eax, 0xfffe: two bytes of memory, two of no memory, so that KVM emulates it.
    const code = [0xb8, 1, 0, 0, 0, 0xf0, 0x0f, 0xc1, 0x04, 0x25, 0xfe, 0xff, 0, 0, ...OUT_DONE]
    const guest = splitLockGuest(code, ring0, { splitLockDetect: 'off' })
    const { vcpu, memory, host } = guest
    const read = vcpu.run()
    if (read.reason !== 'mmio') throw new Error(read.reason)
    expect(read).toMatchObject({ physAddr: 0x10000n, isWrite: false })
    read.data.fill(0)
    // Detection comes on before the emulator does the access.
    for (const processor of host.machine.processors) processor.wrmsr(MSR_TEST_CTRL, SLD)
    const write = vcpu.run()
    if (write.reason !== 'mmio') throw new Error(write.reason)
    expect(write).toMatchObject({ physAddr: 0x10000n, isWrite: true })
    expect(vcpu.run().reason).toBe('io')
    expect([...memory.bytes(0xfffe, 2)]).toEqual([1, 0])
    expect(host.kernel.log.lines.filter((line) => line.includes('emulating exchange as write'))).toHaveLength(1)
    expect(vcpu.vm.kvm.process.takeSignals()).toEqual([])
  })
})
