import { nearestNames, suggestion, UserError } from '../isa/user-error.ts'
import type { KernelProfile } from './kernel-profile.ts'
import * as proposals from './proposals.ts'
import * as releases from './releases.ts'

export type { KernelProfile } from './kernel-profile.ts'

/** Every profile: releases oldest first, then proposals. */
export const kernelProfiles: readonly KernelProfile[] = [
  releases.linux515,
  releases.linux516,
  releases.linux517,
  releases.linux61_0,
  releases.linux61,
  releases.linux66_0,
  releases.linux66,
  releases.linux612_0,
  releases.linux612,
  releases.linux618_0,
  releases.linux618,
  proposals.permBookkeepingBefore,
  proposals.permBookkeepingFixed,
  proposals.guestPermissionIgnored,
  proposals.fpuReallocExit,
  proposals.fpuReallocInline,
  proposals.setXsaveSilentDrop,
  proposals.xfdWriteClears,
  proposals.cetSupervisorKernelWide,
  proposals.cetSupervisorKvmManaged,
  proposals.cetSupervisorKvmManagedLazy,
  proposals.splitLockV8,
  proposals.splitLockV8Fixed,
  proposals.splitLockV10,
]

export const DEFAULT_KERNEL_PROFILE = 'linux-6.12'

/** The profile called `name`; `where` it was named. Throws `UserError` `unknown-kernel-profile` with the nearest names. */
export function kernelProfile(name: string, where = '--kernel'): KernelProfile {
  const profile = kernelProfiles.find((p) => p.name === name)
  if (profile !== undefined) return profile
  const names = kernelProfiles.map((p) => p.name)
  const nearest = nearestNames(name, names)
  throw new UserError({
    code: 'unknown-kernel-profile',
    what: `unknown kernel profile '${name}'`,
    where,
    because: 'no such profile',
    fix: suggestion(nearest, `known profiles: ${names.join(', ')}`),
    nearest,
  })
}

export interface KernelProfileSummary {
  readonly name: string
  readonly title: string
  readonly source: string
  /** Profile it is stated as a change of, null for the oldest. */
  readonly derivedFrom: string | null
  /** What it changes, a sentence each. */
  readonly changes: readonly string[]
  /** Message or commit that proposes it; null for a release. */
  readonly document: string | null
  /** Each question that the two answer differently. */
  readonly differences: readonly ProfileDifference[]
}

/** One question of the profile, `permissions.keepsSupervisorBits`, with both answers. */
export interface ProfileDifference {
  readonly question: string
  readonly before: unknown
  readonly after: unknown
}

/** What `profile` answers differently from the one it is derived from. */
export function profileDifferences(profile: KernelProfile): ProfileDifference[] {
  if (profile.derivedFrom === null) return []
  const base = kernelProfile(profile.derivedFrom)
  return QUESTION_GROUPS.flatMap((group) => {
    const before: Readonly<Record<string, unknown>> = { ...base[group] }
    const after: Readonly<Record<string, unknown>> = { ...profile[group] }
    return Object.keys(after)
      .filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]))
      .map((key) => ({ question: `${group}.${key}`, before: before[key], after: after[key] }))
  })
}
const QUESTION_GROUPS = ['permissions', 'fpu', 'xsave', 'dynamicStates', 'kvm', 'cet', 'splitLock', 'userAbi'] as const

/** Names and titles of all profiles, in the order in which `--kernel help` shows them. */
export function listKernelProfiles(): KernelProfileSummary[] {
  return kernelProfiles.map((profile) => {
    const { name, title, source, derivedFrom, changes, document } = profile
    return { name, title, source, derivedFrom, changes, document, differences: profileDifferences(profile) }
  })
}
