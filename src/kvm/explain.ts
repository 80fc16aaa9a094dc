import { cr4Bits } from '../isa/control-registers.ts'
import { MSR_IA32_XFD, MSR_IA32_XFD_ERR, MSR_IA32_XSS } from '../isa/msr-index.ts'
import { msrName } from '../isa/msrs.ts'
import { guestPermission, guestXfd } from '../linux/fpu/door.ts'
import {
  type Asked,
  componentBits,
  componentSide,
  describeComponents,
  exceptionRefusal,
  type Gate,
  gateOf,
  type NamedBits,
  passed,
  type Refusal,
  type RefusalDetails,
  refusedBy,
  u64Of,
} from '../linux/refusal.ts'
import { isCetMsr } from '../machine/cet.ts'
import { findEntry } from './cpuid/entries.ts'
import { guestCpuidHas } from './cpuid/vcpu-cpuid.ts'
import { type MsrFailure, UNSUPPORTED } from './msr/failure.ts'
import type { Vcpu } from './vcpu/vcpu.ts'

/** Why KVM refused a guest's or a VMM's wish: made when it was refused, from what the check looked at. */

export interface Reasoned {
  readonly rule: string
  readonly sentence: string
  readonly details: RefusalDetails
}

/** Tells whoever watches that the guest gets an exception for something that KVM refused; `reason` is made only if somebody does. */
export function refusedToGuest(vcpu: Vcpu, outcome: string, reason: () => Reasoned): void {
  const { exception } = vcpu.vm.kvm.kernel.trace
  if (exception === undefined) return
  const { rule, sentence, details } = reason()
  exception(vcpu.runner, vcpu.id, exceptionRefusal(outcome, rule, sentence, details))
}

const guestXcr0Leaf = (vcpu: Vcpu): number => findEntry(vcpu.cpuid, 0xd, 0)?.eax ?? 0

/** Who lets components through to a guest, up to the first that does not. */
function componentGates(vcpu: Vcpu, mask: number): Gate[] {
  const { kvm } = vcpu.vm
  const gates: Gate[] = []
  const consult = (name: Gate['gate'], what: string, allowed: number): boolean => {
    const ok = (mask & ~allowed) === 0
    gates.push(gateOf(ok)(name, what, u64Of(allowed)))
    return ok
  }
  if (!consult('XCR0', 'XCR0 of the host', kvm.hostXcr0)) return gates
  if (!consult('host KVM', 'components that KVM supports here', kvm.supportedXcr0)) return gates
  consult('guest CPUID', 'CPUID.(0DH,0).EAX of the guest', guestXcr0Leaf(vcpu))
  return gates
}

const xcr0Asked = (lo: number, hi: number): Asked => ({ kind: 'register', name: 'XCR0', value: u64Of(lo, hi) })

/** XCR0 with components that the vCPU cannot have (GFPU-45). */
export function xcr0Foreign(vcpu: Vcpu, lo: number, hi: number, foreign: number): Reasoned {
  const bits = componentBits(foreign, hi)
  const chain = hi === 0 ? componentGates(vcpu, foreign) : [refusedBy('XCR0', 'bits 63:32', u64Of(hi))]
  const where = chain.at(-1)?.gate === 'guest CPUID' ? "the guest's CPUID does not have" : 'KVM on this host does not support'
  return {
    rule: 'GFPU-45',
    sentence: `XCR0 = 0x${u64Of(lo, hi).toString(16)} has ${describeComponents(bits)}, which ${where}`,
    details: {
      asked: xcr0Asked(lo, hi),
      bits,
      sides: [componentSide('XCR0 wanted', lo, hi), componentSide('guest_supported_xcr0', vcpu.guestSupportedXcr0)],
      chain,
    },
  }
}

/** XCR0 without all of the components `together`, which must go together. */
export function xcr0Incomplete(vcpu: Vcpu, lo: number, together: number, sentence: string): Reasoned {
  const missing = together & ~lo
  return {
    rule: 'GFPU-45',
    sentence: `XCR0 = 0x${(lo >>> 0).toString(16)}: ${sentence}`,
    details: {
      asked: xcr0Asked(lo, 0),
      bits: componentBits(missing),
      sides: [componentSide('XCR0 wanted', lo), componentSide('guest_supported_xcr0', vcpu.guestSupportedXcr0)],
      chain: [refusedBy('XCR0', 'components that are missing', u64Of(missing))],
    },
  }
}

/** XCR0 with a component that the vCPU may have and its process has no permission for: designs that look at XSETBV (GFPU-36). */
export function xcr0WithoutRoom(vcpu: Vcpu, lo: number): Reasoned {
  const { kernel, callingTask } = vcpu.vm.kvm
  const dynamic = lo & kernel.profile.fpu.userDynamic
  const permitted = guestPermission(vcpu.runner ?? callingTask!)
  return {
    rule: 'GFPU-36',
    sentence: 'no room can be made in the guest FPU image: the process has no guest permission (ARCH_REQ_XCOMP_GUEST_PERM)',
    details: {
      asked: xcr0Asked(lo, 0),
      bits: componentBits(dynamic),
      sides: [componentSide('XCR0 wanted', lo), componentSide('guest permission of the process', permitted)],
      chain: [...componentGates(vcpu, dynamic), refusedBy('permission', 'guest permission of the process', permitted)],
    },
  }
}

/** XSETBV at another CPL than 0, or of another register than XCR0 (GFPU-44). */
export function xsetbvMisused(vcpu: Vcpu, cpl: number, index: number): Reasoned {
  const atCpl0 = cpl === 0
  const cplGate = gateOf(atCpl0)('CPL', 'CPL', cpl)
  return {
    rule: 'GFPU-44',
    sentence: atCpl0 ? `XSETBV of XCR${index >>> 0}: only XCR0 exists` : `XSETBV at CPL ${cpl}`,
    details: {
      asked: { kind: 'instruction', name: 'XSETBV', value: u64Of(index) },
      sides: [componentSide('guest_supported_xcr0', vcpu.guestSupportedXcr0)],
      chain: atCpl0 ? [cplGate, refusedBy('XCR number', 'ECX', u64Of(index))] : [cplGate],
    },
  }
}

/** MOV to CR4, or SREGS, with bits that KVM or the guest's CPUID does not have; null when it was something else (KAPI-137). */
export function cr4Foreign(vcpu: Vcpu, lo: number, hi: number): Reasoned | null {
  const byKvm = lo & vcpu.vm.kvm.cr4Reserved
  const byGuest = lo & vcpu.cr4Reserved & ~byKvm
  const foreign = byKvm | byGuest
  if (foreign === 0 && hi === 0) return null
  const bits = cr4Names(foreign, hi)
  const who = byKvm !== 0 || hi !== 0 ? 'KVM on this host does not have' : "the guest's CPUID does not have"
  const chain = [
    gateOf(byKvm === 0 && hi === 0)('host KVM', 'reserved bits of CR4 for every guest', u64Of(vcpu.vm.kvm.cr4Reserved, -1)),
  ]
  if (byKvm === 0 && hi === 0)
    chain.push(refusedBy('guest CPUID', 'reserved bits of CR4 for this guest', u64Of(vcpu.cr4Reserved, -1)))
  return {
    rule: 'KAPI-137',
    sentence: `CR4 = 0x${u64Of(lo, hi).toString(16)} has ${bits.names.join(' and ')}, which ${who}`,
    details: {
      asked: { kind: 'register', name: 'CR4', value: u64Of(lo, hi) },
      bits,
      sides: [
        { name: 'CR4 wanted', value: u64Of(lo, hi), names: cr4Names(lo, 0).names },
        { name: 'CR4 bits of this guest', value: u64Of(~(vcpu.cr4Reserved | vcpu.vm.kvm.cr4Reserved)), names: [] },
      ],
      chain,
    },
  }
}

/** MOV to CR4 that raised #GP(0). */
export function cr4Refused(vcpu: Vcpu, lo: number, hi: number): Reasoned {
  const foreign = cr4Foreign(vcpu, lo, hi)
  if (foreign !== null) return foreign
  const asked = { kind: 'register', name: 'CR4', value: u64Of(lo, hi) } as const
  const sentence = `CR4 = 0x${u64Of(lo, hi).toString(16)} does not go with the paging mode in force (PAE, LA57, PCIDE) or with CR0.WP (CET)`
  return { rule: 'KAPI-43', sentence, details: { asked, chain: [refusedBy('CR4', 'CR4 wanted', u64Of(lo, hi))] } }
}

function cr4Names(lo: number, hi: number): NamedBits {
  const mask = u64Of(lo, hi)
  const names: string[] = []
  for (let bit = 0; bit < 64; bit++) {
    if (((mask >> BigInt(bit)) & 1n) === 0n) continue
    const name = bit < 32 ? cr4Bits.find((row) => row.mask >>> 0 === (1 << bit) >>> 0)?.name : undefined
    names.push(name === undefined ? `CR4 bit ${bit}` : `CR4.${name}`)
  }
  return { mask, names }
}

/** The guest used a component that its own IA32_XFD withholds: #NM (GFPU-30). Nobody refused it but the guest's kernel. */
export function guestXfdArmed(vcpu: Vcpu): Reasoned {
  const xfd = guestXfd(vcpu.guestFpu)
  const bits = componentBits(xfd)
  return {
    rule: 'GFPU-30',
    sentence: `the guest used a component that its own IA32_XFD withholds: ${describeComponents(bits)}`,
    details: {
      asked: { kind: 'instruction', name: `RIP 0x${vcpu.context.rip.toString(16)}`, value: null },
      bits,
      sides: [componentSide('XCR0 of the guest', vcpu.xcr0), componentSide('IA32_XFD of the guest', xfd)],
      chain: [
        ...componentGates(vcpu, xfd),
        passed('XCR0', 'XCR0 of the guest', vcpu.xcr0),
        refusedBy('XFD', 'IA32_XFD of the guest', xfd),
      ],
    },
  }
}

// ---- MSRs ----

const feature = (vcpu: Vcpu, name: string): Gate => {
  const has = guestCpuidHas(vcpu, name)
  return gateOf(has)('guest CPUID', name, has)
}

/** An access to an MSR that KVM refused. `value`: what was to be written, null for a read. */
export function msrRefused(vcpu: Vcpu, index: number, value: bigint | null, host: boolean, failure: MsrFailure): Reasoned {
  if (index === MSR_IA32_XFD || index === MSR_IA32_XFD_ERR) return xfdRefused(vcpu, index, value, host)
  if (index === MSR_IA32_XSS) return xssRefused(vcpu, value, host)
  const access = value === null ? 'reading' : `writing 0x${value.toString(16)}`
  const who = host ? '' : ' by the guest'
  const sentence =
    failure === UNSUPPORTED
      ? `${msrName(index)} does not exist for this vCPU`
      : `${access}${who} is refused: ${value === null ? "the vCPU's CPUID does not have it" : 'a reserved bit, or a feature that the CPUID does not have'}`
  const asked = askedOf(index, value)
  const rule = isCetMsr(index) ? (failure === UNSUPPORTED ? 'CET-27' : 'CET-11') : 'KAPI-72'
  return { rule, sentence, details: { asked, chain: [refusedBy('MSR', asked.name, u64Of(index))] } }
}

const askedOf = (index: number, value: bigint | null): Asked => ({ kind: 'MSR', name: msrName(index), value })

/** GFPU-26, GFPU-31. */
function xfdRefused(vcpu: Vcpu, index: number, value: bigint | null, host: boolean): Reasoned {
  const rule = index === MSR_IA32_XFD ? 'GFPU-26' : 'GFPU-31'
  const asked = askedOf(index, value)
  const gates = host ? [] : [feature(vcpu, 'XFD')]
  if (gates[0]?.verdict === 'refused' || value === null) {
    return { rule, sentence: `${asked.name}: the guest's CPUID has no XFD`, details: { asked, chain: gates } }
  }
  const { dynamicXfeatures } = vcpu.vm.kvm
  const allowed = vcpu.guestSupportedXcr0 & dynamicXfeatures
  const [lo, hi] = halves(value)
  const bits = componentBits(lo & ~allowed, hi)
  const isDynamic = (lo & ~dynamicXfeatures) === 0 && hi === 0
  gates.push(gateOf(isDynamic)('dynamic component', 'components that XFD can withhold', u64Of(dynamicXfeatures)))
  if (isDynamic) gates.push(refusedBy('guest CPUID', 'guest_supported_xcr0', u64Of(vcpu.guestSupportedXcr0)))
  const because = isDynamic ? "the guest's CPUID does not have" : 'XFD cannot withhold'
  const sentence = `${asked.name} = 0x${value.toString(16)} has ${describeComponents(bits)}, which ${because}`
  const sides = [
    componentSide(`${asked.name} wanted`, lo, hi),
    componentSide('guest_supported_xcr0 that XFD can withhold', allowed),
  ]
  return { rule, sentence, details: { asked, bits, sides, chain: gates } }
}

/** XSAVE-55. */
function xssRefused(vcpu: Vcpu, value: bigint | null, host: boolean): Reasoned {
  const asked = askedOf(MSR_IA32_XSS, value)
  const gates = host && !vcpu.vm.kvm.profile.kvm.xssHostWriteNeedsGuestXsaves ? [] : [feature(vcpu, 'XSAVES')]
  if (gates[0]?.verdict === 'refused' || value === null) {
    return { rule: 'XSAVE-55', sentence: `${asked.name}: the guest's CPUID has no XSAVES`, details: { asked, chain: gates } }
  }
  const byKvm = vcpu.vm.kvm.supportedXss
  const allowed = vcpu.guestSupportedXss
  const [lo, hi] = halves(value)
  const bits = componentBits(lo & ~allowed, hi)
  const kvmHas = (lo & ~byKvm) === 0 && hi === 0
  gates.push(gateOf(kvmHas)('XSS', 'IA32_XSS bits that KVM supports here', u64Of(byKvm)))
  if (kvmHas) gates.push(refusedBy('guest CPUID', 'CPUID.(0DH,1).ECX of the guest', u64Of(allowed)))
  return {
    rule: 'XSAVE-55',
    sentence: `${asked.name} = 0x${value.toString(16)} has ${describeComponents(bits)}, which ${kvmHas ? "the guest's CPUID does not have" : 'KVM on this host does not support'}`,
    details: {
      asked,
      bits,
      sides: [componentSide('IA32_XSS wanted', lo, hi), componentSide('IA32_XSS of KVM', byKvm)],
      chain: gates,
    },
  }
}

const halves = (value: bigint): [number, number] => [Number(value & 0xffffffffn), Number((value >> 32n) & 0xffffffffn)]

/** KVM_GET_MSRS or KVM_SET_MSRS stopped here: no errno, a short count (KAPI-73). */
export function stoppedAtMsr(vcpu: Vcpu, index: number, value: bigint | null, failure: MsrFailure | 'fixed'): Refusal {
  const reason: Reasoned = failure === 'fixed' ? fixedMsr(index, value) : msrRefused(vcpu, index, value, true, failure)
  return exceptionRefusal('short count', reason.rule, reason.sentence, reason.details)
}

/** KAPI-74. */
function fixedMsr(index: number, value: bigint | null): Reasoned {
  const asked = askedOf(index, value)
  const sentence = `${asked.name} is a feature MSR: the vCPU has run, and only its present value is accepted`
  return { rule: 'KAPI-74', sentence, details: { asked, chain: [refusedBy('CPUID fixed', 'the vCPU has run', 1)] } }
}
