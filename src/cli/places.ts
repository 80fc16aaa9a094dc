import { accessSync, constants, type Stats, statSync } from 'node:fs'
import { isAbsolute, join, resolve } from 'node:path'
import { UserError } from '../isa/user-error.ts'
import { ProgramError } from '../linux/exec/program-error.ts'
import type { Kernel } from '../linux/kernel.ts'
import { HostDirectory } from './host-directory.ts'

/** What of this machine's files the modelled host sees: the program, and what `--bind` names. */

/** Bytes of a text as the model keeps them: one character each. */
export const latin1 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')

/** Where relative paths count from; the root when the directory is gone. */
export function workingDirectory(): string {
  try {
    return process.cwd()
  } catch {
    return '/'
  }
}

/** Absolute path of the program: as given, or found in PATH when it has no slash. Throws ProgramError. */
export function findProgram(name: string): string {
  if (name.includes('/')) {
    const path = isAbsolute(name) ? name : resolve(workingDirectory(), name)
    const found = look(path)
    if (typeof found === 'string') {
      const missing = found === 'ENOENT' || found === 'ENOTDIR'
      throw new ProgramError(
        missing ? 'not-found' : 'not-readable',
        name,
        missing ? 'no such file' : `cannot be looked at (${found})`,
        -2,
      )
    }
    if (!found.isFile() && !found.isDirectory()) throw new ProgramError('not-readable', name, 'is no regular file', -13)
    return path
  }
  const candidates = (process.env['PATH'] ?? '')
    .split(':')
    .map((directory) => resolve(workingDirectory(), join(directory === '' ? '.' : directory, name)))
  const files = name === '' ? [] : candidates.filter((path) => isFile(path))
  const path = files.find(isExecutable) ?? files[0]
  if (path === undefined) throw new ProgramError('not-found', name === '' ? "''" : name, 'no such program in PATH', -2)
  return path
}

function look(path: string): Stats | string {
  try {
    return statSync(path)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown error'
  }
}
function isFile(path: string): boolean {
  const found = look(path)
  return typeof found !== 'string' && found.isFile()
}
function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Shows the program itself at its own path, and nothing around it. */
export function bindProgram(kernel: Kernel, path: string): void {
  if (!kernel.bind(latin1(path), new HostDirectory(path, true))) {
    throw new ProgramError('not-readable', path, 'the modelled host has something of its own there', -13)
  }
}

/** `DIR[:AT][:ro]`. Throws UserError. */
export function bindPlace(kernel: Kernel, text: string): void {
  const parts = text.split(':')
  const readOnly = parts.length > 1 && parts[parts.length - 1] === 'ro'
  if (readOnly) parts.pop()
  const [from, at = from] = parts
  const wrong = (because: string, fix: string) =>
    new UserError({ code: 'bad-bind', what: `cannot bind '${text}'`, where: '--bind', because, fix })
  if (parts.length > 2 || from === '' || at === '') throw wrong('the form is not DIR[:AT][:ro]', 'for example /data:/mnt:ro')
  const path = resolve(workingDirectory(), from)
  const found = look(path)
  if (typeof found === 'string')
    throw wrong(`${from} ${found === 'ENOENT' ? 'does not exist' : `cannot be looked at (${found})`}`, '')
  if (!found.isDirectory() && !found.isFile()) throw wrong(`${from} is neither a directory nor a regular file`, '')
  if (!kernel.bind(latin1(resolve(workingDirectory(), at)), new HostDirectory(path, readOnly))) {
    throw wrong(`${at} cannot be made in the modelled host: a file is in the way`, 'choose another place for AT')
  }
}
