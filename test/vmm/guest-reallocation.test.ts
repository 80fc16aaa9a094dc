import { describe, expect, test } from 'vitest'
import { KvmError } from '../../src/vmm/errors.ts'
import { SmallVmm } from '../../src/vmm/small-vmm/small-vmm.ts'
import { amxMigrate, MEMORY, Recorder } from './guests.ts'
import { testHost } from './hosts.ts'

/** The three designs of giving a guest room for tile data: GFPU §5. D3 is linux-5.17, on which the proposals stand. */
const D1 = 'proposal:fpu-realloc-exit'
const D2 = 'proposal:fpu-realloc-inline'
const D3 = 'linux-5.17'
const XFD = 0x1c4

/** A vCPU with tile data in its CPUID; with or without the process's permission (asked for after CPUID was read). */
function vcpuOf(kernel: string, options: { permission?: boolean } = {}) {
  const host = testHost({ kernel })
  const process = host.newProcess()
  const withPermission = host.newProcess('other')
  withPermission.archPrctl.reqXcompGuestPerm(18)
  const cpuid = withPermission.openKvm().getSupportedCpuid()
  if (options.permission !== false) process.archPrctl.reqXcompGuestPerm(18)
  const vm = process.openKvm().createVm()
  const memory = process.allocate(0x10000)
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory })
  const vcpu = vm.createVcpu()
  vcpu.setCpuid2(cpuid)
  /** Real-mode code at 0, with CR4.OSXSAVE. */
  const load = (code: readonly number[]): void => {
    memory.write(0, Uint8Array.from(code))
    const sregs = vcpu.getSregs()
    vcpu.setSregs({ ...sregs, cs: { ...sregs.cs, base: 0n, selector: 0 }, cr4: sregs.cr4 | (1n << 18n) })
    vcpu.setRegs({ ...vcpu.getRegs(), rip: 0n, rsp: 0x8000n, rflags: 2n })
  }
  return { host, vcpu, load }
}

const u32 = (value: number): number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24]
/** xor ecx, ecx; mov edx, 0; mov eax, value; xsetbv, with operand-size prefixes for real mode */
const xsetbv = (value: number): number[] => [0x66, 0x31, 0xc9, 0x66, 0x31, 0xd2, 0x66, 0xb8, ...u32(value), 0x0f, 0x01, 0xd1]
const wrmsr = (index: number, value: number): number[] => [
  ...[0x66, 0xb9, ...u32(index)],
  ...[0x66, 0x31, 0xd2, 0x66, 0xb8, ...u32(value), 0x0f, 0x30],
]
const HLT = 0xf4
const image = (host: ReturnType<typeof testHost>): number => host.costs.snapshot().vcpus[0].image
const log = (host: ReturnType<typeof testHost>): string => host.kernel.log.lines.join('\n')

describe.each([D1, D2, D3])('%s', (kernel) => {
  test('runs examples/amx-migrate to its end, and over a migration [GFPU-35, GFPU-36, GFPU-39]', () => {
    const seen = new Recorder()
    const first = SmallVmm.boot(testHost({ kernel }).newProcess(), amxMigrate, MEMORY, seen)
    expect(first.run().kind).toBe('checkpoint')
    const state = first.save()
    expect(first.run()).toEqual({ kind: 'exited', status: 0 })
    const second = SmallVmm.restore(testHost({ kernel, cpu: 'GraniteRapids' }).newProcess(), state, seen)
    expect(second.run()).toEqual({ kind: 'exited', status: 0 })
    expect(seen.text.match(/4096 of 4096 equal/g)).toHaveLength(4)
  })
})

describe('what an image costs a guest that has tile data in its CPUID and does not use it', () => {
  test.each([
    [D1, 2560],
    [D2, 2560],
    [D3, 10752],
  ])('%s: %i bytes; permission is one thing and room another [GFPU-37, GFPU-38, GFPU-39]', (kernel, bytes) => {
    // 5.17 has no PASID and no CET_U in its images; on Sapphire Rapids both fit into the hole before XTILE_CFG.
    const { host, vcpu, load } = vcpuOf(kernel)
    load([HLT])
    expect(vcpu.run().reason).toBe('hlt')
    expect(image(host)).toBe(bytes)
  })
})

describe('D2: inside the guest instruction', () => {
  test('XSETBV makes room before XCR0 changes, without leaving KVM_RUN [GFPU-36, GFPU-37]', () => {
    const { host, vcpu, load } = vcpuOf(D2)
    load([...xsetbv(0x602e7), HLT])
    expect(vcpu.run().reason).toBe('hlt')
    expect(vcpu.getXcr0()).toBe(0x602e7n)
    expect(image(host)).toBe(10752)
    expect(host.costs.snapshot().exitsToUser).toEqual({ KVM_EXIT_HLT: 1 })
  })

  test('with XFD armed first, XSETBV asks for nothing and clearing XFD does [GFPU-36]', () => {
    const { host, vcpu, load } = vcpuOf(D2)
    load([...wrmsr(XFD, 0x40000), ...xsetbv(0x602e7), HLT, ...wrmsr(XFD, 0), HLT])
    vcpu.run()
    expect(image(host)).toBe(2560)
    vcpu.run()
    expect(image(host)).toBe(10752)
    expect(vcpu.readMsr(XFD)).toBe(0n)
  })

  test('without permission the guest gets #GP and neither register changes [GFPU-36, GFPU-37]', () => {
    const { host, vcpu, load } = vcpuOf(D2, { permission: false })
    // Interrupt vector 13 of the real-mode table is at 0x34: handler at 0x100, a HLT.
    const code = new Array(0x101).fill(HLT)
    xsetbv(0x602e7).forEach((byte, i) => {
      code[i] = byte
    })
    code.splice(0x34, 4, 0x00, 0x01, 0x00, 0x00)
    load(code)
    expect(vcpu.run().reason).toBe('hlt')
    expect(vcpu.getRegs().rip).toBe(0x101n)
    expect(vcpu.getXcr0()).toBe(1n)
    expect(image(host)).toBe(2560)
  })

  test('without permission KVM_SET_XCRS and KVM_SET_MSRS fail, and a VMM asks again [GFPU-36, GFPU-37]', () => {
    const { vcpu } = vcpuOf(D2, { permission: false })
    expect(() => vcpu.setXcr0(0x602e7n)).toThrow(KvmError)
    expect(vcpu.getXcr0()).toBe(1n)
    vcpu.writeMsr(XFD, 0x40000n)
    vcpu.setXcr0(0x602e7n)
    expect(vcpu.setMsrs([{ index: XFD, data: 0n }])).toBe(0)
    expect(vcpu.readMsr(XFD)).toBe(0x40000n)
  })

  test('an ioctl of the host makes room too [GFPU-36]', () => {
    const { host, vcpu } = vcpuOf(D2)
    vcpu.setXcr0(0x602e7n)
    expect(image(host)).toBe(10752)
  })
})

describe('D1: KVM_EXIT_FPU_REALLOC', () => {
  test('the round trip: an exit that says nothing, the room, the instruction completed by the next KVM_RUN [GFPU-35]', () => {
    const { host, vcpu, load } = vcpuOf(D1)
    const code = [...xsetbv(0x602e7), HLT]
    load(code)
    expect(vcpu.run()).toEqual({ reason: 'fpu-realloc' })
    expect(image(host)).toBe(10752)
    expect(vcpu.getRegs().rip).toBe(BigInt(code.length - 1 - 3))
    expect(vcpu.run().reason).toBe('hlt')
    expect(vcpu.getXcr0()).toBe(0x602e7n)
    expect(host.costs.snapshot().exitsToUser).toEqual({ KVM_EXIT_FPU_REALLOC: 1, KVM_EXIT_HLT: 1 })
    expect(log(host)).not.toContain('WARNING')
  })

  test('(a) a value restored by the host leaves a request, and the next KVM_RUN warns on its way in [GFPU-35]', () => {
    const { host, vcpu, load } = vcpuOf(D1)
    vcpu.setXcr0(0x602e7n)
    expect(image(host)).toBe(2560)
    expect(log(host)).not.toContain('WARNING')
    load([HLT])
    vcpu.run()
    expect(log(host)).toMatch(/WARNING: .* at fpu_guest_realloc_fpstate: a request is pending while the guest is entered/)
    expect(image(host)).toBe(10752)
  })

  test('(b) nobody clears a request that cannot be met, and nobody is told: tiles have no room [GFPU-35]', () => {
    const { host, vcpu, load } = vcpuOf(D1, { permission: false })
    load([...xsetbv(0x602e7), HLT, HLT])
    expect(vcpu.run().reason).toBe('fpu-realloc')
    // The guest goes on with XCR0 as it wanted it.
    expect(vcpu.run().reason).toBe('hlt')
    expect(vcpu.getXcr0()).toBe(0x602e7n)
    expect(image(host)).toBe(2560)
    expect(log(host)).toContain('fpu_guest_realloc_fpstate')
  })

  test('(c) XFD changes in two layers: KVM stores it, unless room is needed, when the FPU code clears its bits [GFPU-35]', () => {
    const { host, vcpu, load } = vcpuOf(D1)
    load([...wrmsr(XFD, 0x40000), ...xsetbv(0x602e7), HLT])
    expect(vcpu.run().reason).toBe('hlt')
    expect(vcpu.readMsr(XFD)).toBe(0x40000n)
    // A host-initiated 0: KVM_SET_MSRS says it is done, and it is not.
    expect(vcpu.setMsrs([{ index: XFD, data: 0n }])).toBe(1)
    expect(vcpu.readMsr(XFD)).toBe(0x40000n)
    load([HLT])
    vcpu.run()
    expect(vcpu.readMsr(XFD)).toBe(0n)
    expect(image(host)).toBe(10752)
  })

  test('(d) a VMM that does not know the exit has nothing to go by: no field of the exit [GFPU-35]', () => {
    const { vcpu, load } = vcpuOf(D1)
    load([...xsetbv(0x602e7), HLT])
    const exit = vcpu.run()
    expect(Object.keys(exit)).toEqual(['reason'])
  })
})
