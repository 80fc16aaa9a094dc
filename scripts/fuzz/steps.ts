/** Where the argument of a call lies: all readable; at an address with nothing; or with only `readable` bytes before the end. */
export type Pointer = 'memory' | 'nowhere' | { readonly readable: number }

/** One call with everything it needs, as data: it can be printed and made again. */
export type Step =
  | XsaveStep
  | { readonly call: 'KVM_SET_XCRS'; readonly count: number; readonly flags: number; readonly xcrs: Xcr[]; readonly at: Pointer }
  | CpuidStep
  | { readonly call: 'KVM_SET_MSRS'; readonly msrs: Msr[]; readonly count: number; readonly at: Pointer }
  | { readonly call: 'raw'; readonly on: Descriptor; readonly name: string; readonly request: number; readonly fill: Fill }
  | { readonly call: 'prctl'; readonly option: number; readonly argument: number }
  | { readonly call: 'run' }

export type Descriptor = 'kvm' | 'vm' | 'vcpu'
export interface Xcr {
  readonly xcr: number
  readonly value: bigint
}
export interface Msr {
  readonly index: number
  readonly value: bigint
}

/** KVM_SET_XSAVE of what KVM_GET_XSAVE2 gives, or of noise, with changes. */
export interface XsaveStep {
  readonly call: 'KVM_SET_XSAVE'
  readonly base: 'got' | 'zero' | number
  readonly bv: bigint | null
  /** Bytes put over it. */
  readonly patches: readonly { readonly at: number; readonly bytes: readonly number[] }[]
  readonly at: Pointer
}

/** KVM_SET_CPUID2 of the supported list with changes. */
export interface CpuidStep {
  readonly call: 'KVM_SET_CPUID2'
  /** CPUID.(0DH,0).EDX:EAX; null = no leaf 0DH at all. */
  readonly xcr0: bigint | null
  /** nent; more or fewer than there are entries. */
  readonly count: number | null
  /** CPUID.80000008H:EAX */
  readonly addressSizes: number | null
  /** Registers of entries replaced: [entry, register 0..3, value]. */
  readonly noise: readonly (readonly [number, number, number])[]
  readonly at: Pointer
}

/** What a raw ioctl finds at its pointer, or its argument itself. */
export type Fill = { readonly seed: number; readonly at: Pointer } | { readonly value: number }

/** A step as one line. */
export const printStep = (step: Step): string =>
  JSON.stringify(step, (_key, value) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value))
