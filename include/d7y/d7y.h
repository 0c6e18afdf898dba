/**
 * @file d7y/d7y.h
 * All of libd7y. Each header can also be included alone.
 */
#ifndef D7Y_D7Y_H
#define D7Y_D7Y_H

#include <d7y/common.h>
#include <d7y/download.h>
#include <d7y/error.h>
#include <d7y/log.h>
#include <d7y/node.h>
#include <d7y/scheduler.h>
#include <d7y/source.h>
#include <d7y/task.h>
#include <d7y/version.h>

#endif
