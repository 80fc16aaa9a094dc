import type { FeatureName } from '../../isa/cpuid-features.ts'
import { xstateGates } from '../../isa/xstate-gates.ts'
import {
  type Asked,
  componentBits,
  componentNames,
  componentSide,
  describeComponents,
  exceptionRefusal,
  type Gate,
  gateOf,
  passed,
  type Refusal,
  type RefusalDetails,
  refusedBy,
  trapped,
  u64Of,
} from '../refusal.ts'
import type { Task } from '../task.ts'

/** What refusals of extended state say beside their sentence: the gates between a task and a component, in the order in which they are consulted. */

const component = (nr: number): Asked => ({
  kind: 'component',
  name: componentNames(1n << BigInt(nr))[0],
  value: BigInt(nr),
})

/** Does the processor have it, and did the kernel enable it? */
export function hostGates(task: Task, mask: number): Gate[] {
  const { model, xstate } = task.kernel
  const gates: Gate[] = []
  const consult = (feature: FeatureName): void => {
    gates.push(gateOf(model.has(feature))('CPUID bit', feature.toUpperCase(), model.has(feature)))
  }
  for (const row of xstateGates) if ((row.components & mask) !== 0) row.features.forEach(consult)
  if ((xstate.profile.fpu.userDynamic & mask) !== 0) consult('xfd')
  if (gates.some((gate) => gate.verdict === 'refused')) return gates
  gates.push(gateOf((xstate.userMax & mask) === mask)('XCR0', 'XCR0 of the host', xstate.userMax))
  return gates
}

/** A request of permission that was refused before any record was looked at. */
export function unknownComponent(task: Task, lo: number, hi: number): RefusalDetails {
  const { xfeatureMax } = task.kernel.profile.permissions
  const asked: Asked = { kind: 'component', name: `component ${u64Of(lo, hi)}`, value: u64Of(lo, hi) }
  return { asked, chain: [refusedBy('component number', 'first number that is no component', xfeatureMax)] }
}
export function notDynamic(task: Task, nr: number): RefusalDetails {
  const { userDynamic } = task.kernel.profile.fpu
  return {
    asked: component(nr),
    bits: componentBits(1 << nr),
    sides: [componentSide('components that need permission', userDynamic)],
    chain: [
      passed('component number', 'component', nr),
      refusedBy('dynamic component', 'components that need permission', userDynamic),
    ],
  }
}
export function notSupported(task: Task, nr: number, mask: number): RefusalDetails {
  return {
    asked: component(nr),
    bits: componentBits(mask),
    sides: [componentSide('supported by the host (ARCH_GET_XCOMP_SUPP)', task.kernel.xstate.userMax)],
    chain: hostGates(task, mask),
  }
}

/** A request that came too late, or whose signal frames would not fit (`next`: the gate that refused, after permission was wanted). */
export function notGranted(task: Task, nr: number, mask: number, perm: number, guest: boolean, next: Gate): RefusalDetails {
  const name = guest ? 'guest permission of the process' : 'permission of the process'
  return {
    asked: component(nr),
    bits: componentBits(mask),
    sides: [componentSide(name, perm), componentSide('supported by the host (ARCH_GET_XCOMP_SUPP)', task.kernel.xstate.userMax)],
    chain: [...hostGates(task, mask), passed('permission', `${name}: is to be extended`, perm), next],
  }
}

/** An instruction met an armed XFD bit, and the process has no permission (PERM-37). */
export function useNotPermitted(task: Task, wanted: number, perm: number, outcome: string): Refusal {
  const bits = componentBits(wanted)
  const names = bits.names.join(' and ')
  const sentence = `an instruction used ${names}, for which the process has no permission: ARCH_REQ_XCOMP_PERM was not called, or refused`
  return exceptionRefusal(outcome, 'PERM-37', sentence, {
    asked: component(31 - Math.clz32(wanted)),
    bits,
    sides: [componentSide('permission of the process', perm), componentSide('IA32_XFD', task.fpu.fpstate.xfd)],
    chain: [
      ...hostGates(task, wanted),
      trapped('XFD', 'IA32_XFD of the thread', task.fpu.fpstate.xfd),
      refusedBy('permission', 'permission of the process', perm),
    ],
  })
}

/** Permission is there, memory is not: SIGSEGV (PERM-37). */
export function bufferNotGrown(added: number, bytes: number): Refusal {
  const bits = componentBits(added)
  return exceptionRefusal(
    'SIGSEGV',
    'PERM-37',
    `there is no memory for a buffer of ${bytes} bytes with ${bits.names.join(' and ')}`,
    {
      asked: component(31 - Math.clz32(added)),
      bits,
      chain: [refusedBy('memory', 'bytes of the larger buffer', bytes)],
    },
  )
}

/** KVM_SET_CPUID2 of a guest CPUID with dynamic components that the process may not give to guests (GFPU-39). */
export function guestNotPermitted(
  task: Task,
  cpuidFeatures: number,
  wanted: number,
  perm: number,
  locked: boolean,
): RefusalDetails {
  return {
    asked: { kind: 'CPUID', name: 'CPUID.(0DH,0).EAX', value: u64Of(cpuidFeatures) },
    bits: componentBits(wanted & ~perm),
    sides: [
      componentSide('CPUID.(0DH,0).EAX of the guest', cpuidFeatures),
      componentSide('guest permission of the process', perm),
    ],
    chain: [
      ...hostGates(task, wanted),
      passed('guest CPUID', 'CPUID.(0DH,0).EAX of the guest', u64Of(cpuidFeatures)),
      refusedBy('permission', 'guest permission of the process', perm),
      ...(locked ? [refusedBy('vCPU lock', 'a vCPU exists: guest permissions cannot change', 1)] : []),
    ],
  }
}

/** XSTATE_BV of an image given by user space against what can be loaded; `chain` ends with the refusing gate. */
export function imageDetails(
  lo: number,
  hi: number,
  accepted: number,
  acceptedBy: string,
  chain: readonly Gate[],
): RefusalDetails {
  return {
    asked: { kind: 'image', name: 'XSTATE_BV', value: u64Of(lo, hi) },
    bits: componentBits(lo & ~accepted, hi),
    sides: [componentSide('XSTATE_BV of the image', lo, hi), componentSide(acceptedBy, accepted)],
    chain,
  }
}

/** Memory of a signal frame that rt_sigreturn cannot read. */
export function unreadableFrame(rule: string, what: string): Refusal {
  return exceptionRefusal('SIGSEGV', rule, `${what} cannot be read`, {
    asked: { kind: 'frame', name: what, value: null },
    chain: [refusedBy('memory', what, 0)],
  })
}

/** XRSTOR of a signal frame faulted (PERM-52, PERM-54): which of its reasons it was. */
export function faultingFrame(task: Task, vector: number, xcr0: number, image: FrameHeader): Refusal {
  const frame = { kind: 'frame', name: 'extended state of the signal frame', value: u64Of(image.bvLo, image.bvHi) } as const
  const header = `#${vector === 7 ? 'NM' : 'GP(0)'} while the signal frame was restored`
  if (vector === 7) {
    const { xfd } = task.fpu.fpstate
    const bits = componentBits(xfd & image.bvLo)
    return exceptionRefusal('SIGSEGV', 'PERM-54', `${header}: IA32_XFD withholds ${describeComponents(bits)}`, {
      asked: frame,
      bits,
      chain: [passed('XCR0', 'XCR0 of the host', xcr0), refusedBy('XFD', 'IA32_XFD of the thread', xfd)],
    })
  }
  const foreign = componentBits(image.bvLo & ~xcr0, image.bvHi)
  if (foreign.mask !== 0n) {
    return exceptionRefusal('SIGSEGV', 'PERM-52', `${header}: XSTATE_BV has ${describeComponents(foreign)}, XCR0 has not`, {
      ...imageDetails(image.bvLo, image.bvHi, xcr0, 'XCR0 of the host', [refusedBy('XCR0', 'XCR0 of the host', xcr0)]),
      asked: frame,
    })
  }
  const isHeader = image.xcompBv !== 0n
  const gate = isHeader ? refusedBy('XSAVE header', 'XCOMP_BV', image.xcompBv) : refusedBy('MXCSR', 'MXCSR', image.mxcsr)
  const sentence = isHeader
    ? `${header}: XCOMP_BV or a reserved byte of the header is not 0`
    : `${header}: MXCSR 0x${image.mxcsr.toString(16)} or a reserved byte of the header has bits that must be 0`
  return exceptionRefusal('SIGSEGV', 'PERM-52', sentence, { asked: frame, chain: [gate] })
}

/** What of a frame's image XRSTOR looks at. */
export interface FrameHeader {
  readonly bvLo: number
  readonly bvHi: number
  readonly xcompBv: bigint
  readonly mxcsr: number
}
