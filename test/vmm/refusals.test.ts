import { describe, expect, test } from 'vitest'
import { MSR_IA32_XFD, MSR_IA32_XSS } from '../../src/isa/msr-index.ts'
import type { Refusal } from '../../src/linux/refusal.ts'
import { explainRefusal, refusalJson } from '../../src/tools/explain.ts'
import { KvmError, MsrError, SyscallError } from '../../src/vmm/errors.ts'
import type { Host, HostRefusal } from '../../src/vmm/modelled/host.ts'
import { SmallVmm } from '../../src/vmm/small-vmm/small-vmm.ts'
import type { VcpuFd } from '../../src/vmm/vcpu-fd.ts'
import { amxMigrate, MEMORY, Recorder } from './guests.ts'
import { amxVcpu, plainVcpu, realModeVcpu, testHost } from './hosts.ts'

const XTILE_DATA = 18
const XTILE_DATA_BIT = 0x40000n
/** CR4.OSXSAVE */
const OSXSAVE = 1n << 18n
/** What Sapphire Rapids gives the modelled 6.12 kernel: XCR0 of the recordings. */
const HOST_XCR0 = 0x602e7n

const host = testHost()

/** The error that `call` throws. */
function errorOf(call: () => unknown): SyscallError | MsrError {
  try {
    call()
  } catch (error) {
    if (error instanceof SyscallError || error instanceof MsrError) return error
    throw error
  }
  throw new Error('it was not refused')
}
const reasonOf = (call: () => unknown): Refusal => errorOf(call).reason!
/** `gate:verdict` of the chain, in order. */
const chainOf = (reason: Refusal): string[] => reason.chain.map(({ gate, verdict }) => `${gate}:${verdict}`)

describe('arch_prctl', () => {
  test('a component that needs no permission: which do [PERM-17]', () => {
    const reason = reasonOf(() => host.newProcess().archPrctl.reqXcompGuestPerm(17))
    expect(reason).toMatchObject({
      outcome: 'EOPNOTSUPP',
      errno: 95,
      rule: 'PERM-17',
      asked: { kind: 'component', name: 'XTILE_CFG', value: 17n },
      bits: { mask: 0x20000n, names: ['XTILE_CFG'] },
      sides: [{ name: 'components that need permission', value: XTILE_DATA_BIT, names: ['XTILE_DATA'] }],
    })
    expect(chainOf(reason)).toEqual(['component number:passed', 'dynamic component:refused'])
  })

  test('a number that is no component ends at the first gate [PERM-17]', () => {
    const reason = reasonOf(() => host.newProcess().archPrctl.reqXcompPerm(64))
    expect(reason).toMatchObject({ outcome: 'EINVAL', rule: 'PERM-17', asked: { value: 64n } })
    expect(chainOf(reason)).toEqual(['component number:refused'])
  })

  test('a host without AMX: its CPUID bits refuse [PERM-17]', () => {
    const skylake = testHost({ cpu: 'Skylake-Server' }).newProcess()
    const reason = reasonOf(() => skylake.archPrctl.reqXcompPerm(XTILE_DATA))
    expect(reason.bits).toEqual({ mask: XTILE_DATA_BIT, names: ['XTILE_DATA'] })
    expect(reason.chain[0]).toEqual({ gate: 'CPUID bit', what: 'AMX-TILE', value: 0n, verdict: 'refused' })
  })

  test('after the first vCPU: CPUID and XCR0 pass, the lock refuses [PERM-23]', () => {
    const process = host.newProcess()
    process.openKvm().createVm().createVcpu()
    const error = errorOf(() => process.archPrctl.reqXcompGuestPerm(XTILE_DATA)) as SyscallError
    expect(error.message).toBe(
      'EBUSY: arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM, 18): the process has created a vCPU: guest permissions are locked (PERM-23)',
    )
    expect(error).toMatchObject({ errno: 'EBUSY', call: 'arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM, 18)', rule: 'PERM-23' })
    expect(error.explanation).toMatch(/vCPU/)
    expect(chainOf(error.reason!)).toEqual([
      'CPUID bit:passed',
      'CPUID bit:passed',
      'XCR0:passed',
      'permission:passed',
      'vCPU lock:refused',
    ])
    expect(error.reason!.chain[2].value).toBe(HOST_XCR0)
  })
})

describe('KVM_SET_CPUID2', () => {
  test('AMX without guest permission: what the CPUID has, what the process may [GFPU-39]', () => {
    const allowed = host.newProcess()
    allowed.archPrctl.reqXcompGuestPerm(XTILE_DATA)
    const withAmx = allowed.openKvm().getSupportedCpuid()
    const process = host.newProcess()
    const vcpu = process.openKvm().createVm().createVcpu()
    const error = errorOf(() => vcpu.setCpuid2(withAmx))
    expect(error).toBeInstanceOf(KvmError)
    expect(error.message).toBe(
      'EPERM: KVM_SET_CPUID2: guest CPUID has XTILE_DATA (bit 18), for which the process has no guest permission (ARCH_REQ_XCOMP_GUEST_PERM) (GFPU-39)',
    )
    const reason = error.reason!
    expect(reason.asked).toEqual({ kind: 'CPUID', name: 'CPUID.(0DH,0).EAX', value: HOST_XCR0 })
    expect(reason.bits).toEqual({ mask: XTILE_DATA_BIT, names: ['XTILE_DATA'] })
    const [cpuid, permission] = reason.sides
    expect(cpuid.value & ~permission.value).toBe(XTILE_DATA_BIT)
    expect(permission.value & XTILE_DATA_BIT).toBe(0n)
    expect(chainOf(reason).slice(-2)).toEqual(['permission:refused', 'vCPU lock:refused'])
  })

  test('more than 256 entries are E2BIG, with both numbers [XSAVE-48]', () => {
    const entry = host.newProcess().openKvm().getSupportedCpuid()[0]
    const reason = reasonOf(() => plainVcpu().setCpuid2(new Array(257).fill(entry)))
    expect(reason).toMatchObject({ outcome: 'E2BIG', rule: 'XSAVE-48', asked: { name: 'nent', value: 257n } })
    expect(reason.sides.map(({ value }) => value)).toEqual([257n, 256n])
  })
})

describe('KVM_SET_XSAVE', () => {
  const vcpu = amxVcpu(host)
  const refusedImage = (change: (image: ReturnType<VcpuFd['getXsave2']>) => void, of = vcpu): Refusal => {
    const image = of.getXsave2()
    change(image)
    return reasonOf(() => of.setXsave(image))
  }

  test('components that KVM does not support on this host [XSAVE-17]', () => {
    const reason = refusedImage((image) => (image.xstateBv = (1n << 19n) | (1n << 62n) | 3n))
    expect(reason).toMatchObject({
      rule: 'XSAVE-17',
      bits: { mask: (1n << 19n) | (1n << 62n), names: ['APX', 'bit 62'] },
      sentence: 'xstate_bv has APX (bit 19) and bit 62, which KVM on this host does not support',
    })
    expect(reason.sides[1].value).toBe(HOST_XCR0)
    expect(chainOf(reason)).toEqual(['host KVM:refused'])
  })

  test('components for which the image has no room [XSAVE-18]', () => {
    const reason = refusedImage((image) => (image.xstateBv |= XTILE_DATA_BIT), plainVcpu())
    expect(reason).toMatchObject({ rule: 'XSAVE-18', bits: { names: ['XTILE_DATA'] } })
    expect(chainOf(reason)).toEqual(['guest FPU image:refused'])
  })

  test('an XCOMP_BV, and reserved bits of MXCSR [XSAVE-19, XSAVE-20]', () => {
    expect(refusedImage((image) => (image.xcompBv = 1n << 63n))).toMatchObject({
      rule: 'XSAVE-19',
      asked: { kind: 'image', name: 'XCOMP_BV', value: 1n << 63n },
    })
    expect(
      refusedImage((image) => {
        image.xstateBv = 3n
        image.mxcsr = 0x10000
      }),
    ).toMatchObject({
      rule: 'XSAVE-20',
      bits: { mask: 0x10000n, names: ['bit 16'] },
      sides: [{ value: 0x10000n }, { value: 0xffffn }],
    })
  })

  test('linux-5.17 accepts only the features of the guest: PKRU of a snapshot is refused [XSAVE-35]', () => {
    const old = testHost({ kernel: 'linux-5.17' }).newProcess()
    const kvm = old.openKvm()
    const guest = kvm.createVm().createVcpu()
    const withoutPku = kvm
      .getSupportedCpuid()
      .map((e) => (e.function === 0xd && e.index === 0 ? { ...e, eax: e.eax & ~0x200 } : e))
    guest.setCpuid2(withoutPku)
    const image = guest.getXsave2()
    image.xstateBv |= 0x200n
    const error = errorOf(() => guest.setXsave(image))
    expect(error.message).toBe(
      "EINVAL: KVM_SET_XSAVE: xstate_bv has PKRU (bit 9), host profile linux-5.17 accepts only the guest's own features (XSAVE-35)",
    )
  })

  test('memory that cannot be read is EFAULT, with the address [XSAVE-15]', () => {
    const { process } = vcpu.vm.kvm
    expect(reasonOf(() => process.ioctl(vcpu.fd, 'KVM_SET_XSAVE', 0x10))).toMatchObject({
      outcome: 'EFAULT',
      asked: { kind: 'buffer', value: 0x10n },
    })
  })

  test('KVM_GET_XSAVE of a larger state: both sizes [XSAVE-03]', () => {
    expect(reasonOf(() => vcpu.getXsave()).sides.map(({ value }) => value)).toEqual([4096n, 11008n])
  })
})

describe('KVM_SET_XCRS', () => {
  test("XCR0 beyond the guest's CPUID: wanted against guest_supported_xcr0 [GFPU-45]", () => {
    const plain = plainVcpu()
    const reason = reasonOf(() => plain.setXcr0(HOST_XCR0))
    expect(reason).toMatchObject({ rule: 'GFPU-45', asked: { kind: 'register', name: 'XCR0', value: HOST_XCR0 } })
    expect(reason.bits!.names).toEqual(['XTILE_CFG', 'XTILE_DATA'])
    expect(reason.sides).toMatchObject([
      { name: 'XCR0 wanted', value: HOST_XCR0 },
      { name: 'guest_supported_xcr0', value: 0x2e7n },
    ])
    expect(chainOf(reason)).toEqual(['XCR0:passed', 'host KVM:passed', 'guest CPUID:refused'])
  })
  test('components that go together: which are missing [GFPU-45]', () => {
    const vcpu = amxVcpu(host)
    expect(reasonOf(() => vcpu.setXcr0(0x20007n)).bits).toEqual({ mask: XTILE_DATA_BIT, names: ['XTILE_DATA'] })
    expect(reasonOf(() => vcpu.setXcr0(6n)).bits).toEqual({ mask: 1n, names: ['FP'] })
  })
})

describe('KVM_SET_MSRS', () => {
  test('IA32_XFD with a component it cannot withhold: MsrError says which and why [GFPU-26, KAPI-73]', () => {
    const vcpu = amxVcpu(host)
    const error = errorOf(() => vcpu.writeMsr(MSR_IA32_XFD, 0x20000n)) as MsrError
    expect(error).toBeInstanceOf(MsrError)
    expect(error).toMatchObject({ ioctl: 'KVM_SET_MSRS', index: MSR_IA32_XFD, done: 0, rule: 'GFPU-26' })
    expect(error.message).toBe(
      'KVM_SET_MSRS stopped at MSR_IA32_XFD (0x1c4), 0 done before it: MSR_IA32_XFD = 0x20000 has XTILE_CFG (bit 17), which XFD cannot withhold (GFPU-26)',
    )
    expect(error.reason!.bits).toEqual({ mask: 0x20000n, names: ['XTILE_CFG'] })
    expect(chainOf(error.reason!)).toEqual(['dynamic component:refused'])
  })
  test("IA32_XFD without AMX in the guest's CPUID [GFPU-26]", () => {
    const reason = reasonOf(() => plainVcpu().writeMsr(MSR_IA32_XFD, XTILE_DATA_BIT))
    expect(chainOf(reason)).toEqual(['dynamic component:passed', 'guest CPUID:refused'])
  })
  test('IA32_XSS with components that KVM does not have [XSAVE-55]', () => {
    const reason = reasonOf(() => plainVcpu().writeMsr(MSR_IA32_XSS, 0x8000n))
    expect(reason).toMatchObject({ rule: 'XSAVE-55', bits: { mask: 0x8000n, names: ['LBR'] } })
  })
  test('an MSR that does not exist [KAPI-72]', () => {
    expect(reasonOf(() => plainVcpu().readMsr(0x12345))).toMatchObject({ rule: 'KAPI-72', outcome: 'short count' })
  })
})

describe('a guest', () => {
  /** Runs real-mode `code` and gives the exceptions it was told of by the model. */
  function exceptionsOf(
    code: readonly number[],
    prepare: (vcpu: VcpuFd) => void = () => {},
    on: Host = testHost(),
  ): HostRefusal[] {
    const seen: HostRefusal[] = []
    on.watch({ exception: (refusal) => seen.push(refusal) })
    const { vcpu } = realModeVcpu(code, on)
    vcpu.setSregs({ ...vcpu.getSregs(), cr4: OSXSAVE })
    prepare(vcpu)
    vcpu.run({ maxInstructions: 8 })
    return seen
  }
  // mov $0, %ecx; mov $EAX, %eax; mov $0, %edx; then the instruction, in 16-bit code.
  const withRegisters = (ecx: number, eax: number, instruction: readonly number[]): number[] => {
    const le = (value: number) => [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24]
    return [0x66, 0xb9, ...le(ecx), 0x66, 0xb8, ...le(eax), 0x66, 0xba, 0, 0, 0, 0, ...instruction]
  }
  const XSETBV = [0x0f, 0x01, 0xd1]
  const WRMSR = [0x0f, 0x30]

  test('#GP(0) on XSETBV of a component that its CPUID does not have [GFPU-44, GFPU-45]', () => {
    const [first] = exceptionsOf(withRegisters(0, 0x60007, XSETBV))
    expect(first).toMatchObject({ vcpu: 0, call: null, result: null })
    expect(first.reason).toMatchObject({
      outcome: '#GP(0)',
      errno: 0,
      rule: 'GFPU-45',
      bits: { mask: 0x60000n, names: ['XTILE_CFG', 'XTILE_DATA'] },
      sides: [{ value: 0x60007n }, { name: 'guest_supported_xcr0', value: 0x2e7n }],
    })
    expect(chainOf(first.reason)).toEqual(['XCR0:passed', 'host KVM:passed', 'guest CPUID:refused'])
  })
  test('#GP(0) on XSETBV of XCR1 [GFPU-44]', () => {
    const [first] = exceptionsOf(withRegisters(1, 7, XSETBV))
    expect(first.reason).toMatchObject({ rule: 'GFPU-44', asked: { name: 'XSETBV', value: 1n } })
    expect(chainOf(first.reason)).toEqual(['CPL:passed', 'XCR number:refused'])
  })
  test('#GP(0) on WRMSR IA32_XFD of what its CPUID does not have [GFPU-26]', () => {
    const [first] = exceptionsOf(withRegisters(MSR_IA32_XFD, 0x40000, WRMSR))
    expect(first.reason).toMatchObject({
      outcome: '#GP(0)',
      rule: 'GFPU-26',
      asked: { kind: 'MSR', name: 'MSR_IA32_XFD', value: 0x40000n },
    })
    expect(first.reason.bits).toEqual({ mask: 0x40000n, names: ['XTILE_DATA'] })
    expect(chainOf(first.reason).at(-1)).toBe('guest CPUID:refused')
  })
  test('#GP(0) on WRMSR IA32_XSS [XSAVE-55]', () => {
    const [first] = exceptionsOf(withRegisters(MSR_IA32_XSS, 0x8000, WRMSR))
    expect(first.reason).toMatchObject({ rule: 'XSAVE-55', bits: { names: ['LBR'] } })
  })
  test('#GP(0) on MOV to CR4 of a bit that KVM does not have [KAPI-137]', () => {
    // mov $1 << 23, %eax; mov %eax, %cr4
    const [first] = exceptionsOf([0x66, 0xb8, 0, 0, 0x80, 0, 0x0f, 0x22, 0xe0])
    expect(first.reason).toMatchObject({ rule: 'KAPI-137', asked: { kind: 'register', name: 'CR4', value: 0x800000n } })
    expect(first.reason.bits).toEqual({ mask: 0x800000n, names: ['CR4.CET'] })
  })
  test('#NM of a component that its own IA32_XFD withholds [GFPU-30]', () => {
    const watched = testHost()
    const seen: HostRefusal[] = []
    watched.watch({ exception: (refusal) => seen.push(refusal) })
    // The example arms XFD itself, uses a tile, and disarms it in its #NM handler.
    SmallVmm.boot(watched.newProcess(), amxMigrate, MEMORY, new Recorder()).run()
    expect(seen).toHaveLength(1)
    expect(seen[0].reason).toMatchObject({
      outcome: '#NM',
      rule: 'GFPU-30',
      bits: { mask: XTILE_DATA_BIT, names: ['XTILE_DATA'] },
    })
    expect(chainOf(seen[0].reason)).toEqual([
      'XCR0:passed',
      'host KVM:passed',
      'guest CPUID:passed',
      'XCR0:passed',
      'XFD:refused',
    ])
  })
  test('nothing is told of one that gets what it asks for', () => {
    expect(exceptionsOf(withRegisters(0, 7, [...XSETBV, 0xf4]))).toEqual([])
  })
})

describe('a reason', () => {
  const reason = reasonOf(() => plainVcpu().setXcr0(HOST_XCR0))
  test('as lines for people', () => {
    expect(explainRefusal(reason).slice(0, 7)).toEqual([
      'asked: register XCR0 = 0x602e7',
      'bits: 0x60000 (XTILE_CFG XTILE_DATA)',
      'XCR0 wanted: 0x602e7 (FP SSE YMM OPMASK ZMM_Hi256 Hi16_ZMM PKRU XTILE_CFG XTILE_DATA)',
      'guest_supported_xcr0: 0x2e7 (FP SSE YMM OPMASK ZMM_Hi256 Hi16_ZMM PKRU)',
      'ok   XCR0: XCR0 of the host = 0x602e7',
      'ok   host KVM: components that KVM supports here = 0x602e7',
      'NO   guest CPUID: CPUID.(0DH,0).EAX of the guest = 0x2e7',
    ])
  })
  test('as JSON', () => {
    expect(JSON.parse(JSON.stringify(refusalJson(reason)))).toMatchObject({
      outcome: 'EINVAL',
      rule: 'GFPU-45',
      asked: { kind: 'register', name: 'XCR0', value: '0x602e7' },
      bits: { mask: '0x60000', names: ['XTILE_CFG', 'XTILE_DATA'] },
      chain: [{}, {}, { gate: 'guest CPUID', verdict: 'refused' }],
    })
  })
})

test('a watcher of refusals gets the call, its result and the reason', () => {
  const watched = testHost()
  const seen: HostRefusal[] = []
  watched.watch({ refusal: (refusal) => seen.push(refusal) })
  expect(() => watched.newProcess().archPrctl.reqXcompPerm(17)).toThrow()
  expect(seen).toMatchObject([
    { vcpu: null, call: 'arch_prctl(ARCH_REQ_XCOMP_PERM, 0x11)', result: -95, reason: { rule: 'PERM-17' } },
  ])
})
